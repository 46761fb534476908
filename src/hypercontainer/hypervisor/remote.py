"""Disks that servers have, as a driver is asked for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hypercontainer.linux.users import User


@dataclass(frozen=True)
class Tls:
    """``hostname``: the name in the server's certificate, "" with a shared key, with which ``user`` goes."""

    hostname: str = ""
    user: str = ""


@dataclass(frozen=True)
class RemoteDisk:
    """``serial`` as a ``DiskSpec``'s, ``protocol`` "nbd", "iscsi" or "rbd"; ``words`` is the URI, for people.

    Where it is: ``address`` and ``port``, in numbers, or ``socket``, to which is connected with the rights of ``owner``
    (None: this process's own); where the cluster of an rbd is, a file says.  ``name`` is the export, the target or the
    image, ``lun`` the unit of a target, ``pool``, ``namespace`` and ``snapshot`` are the image's, ``user`` who logs in
    there.  ``files``: names and contents of what is secret, as the initiator looks for it.
    """

    serial: str
    read_only: bool
    protocol: str
    words: str
    address: str = ""
    port: int = 0
    socket: Path | None = None
    owner: User | None = None
    name: str = ""
    lun: int = 0
    pool: str = ""
    namespace: str = ""
    snapshot: str = ""
    user: str = ""
    tls: Tls | None = None
    files: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
