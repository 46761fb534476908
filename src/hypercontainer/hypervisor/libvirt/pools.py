"""Storage pools of libvirt: where one that is a directory is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.hypervisor.libvirt import markup


def folder_of(name: str) -> Callable[[Any], Path]:
    """What asks a connection, in a thread; that raises ``libvirtError``, ``Unavailable`` for a pool that is not
    started, and what ``directory`` does."""

    def ask(connection: Any) -> Path:
        pool = connection.storagePoolLookupByName(name)
        if not pool.isActive():
            raise Unavailable(f"storage pool {name} is not started", hint=f"virsh pool-start {name}")
        return directory(name, pool.XMLDesc())

    return ask


def directory(name: str, xml: str) -> Path:
    """From a pool's XML.  Raises ``InvalidArgument`` for one that is no directory."""
    try:
        tree = markup.read(xml)
    except ValueError as error:
        raise InvalidArgument(f"storage pool {name}: {error}") from error
    path = tree.findtext("./target/path", "").strip()
    if tree.get("type") not in ("dir", "fs", "netfs") or not path.startswith("/"):
        raise InvalidArgument(
            f"storage pool {name} is no directory", hint="pool: one of type dir, fs or netfs"
        )
    return Path(path)
