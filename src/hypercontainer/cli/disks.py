"""Disks of the user's own as they are typed (``--mount type=disk``, ``nbd``, ``iscsi``, ``rbd``), and what the API is
asked for (contract/volumes.py)."""

from __future__ import annotations

import hashlib
import os

from hypercontainer.cli.options import UsageError
from hypercontainer.contract.disk_formats import QCOW2, VDI, VDI_AT, VMDK, VMDK_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The API is always told the format.  Here it may be left out, where a file says it of itself; that a file is raw is
# never concluded from what it does not say.
_BEGINNINGS = ((0, QCOW2, "qcow2"), (0, VMDK, "vmdk"), (0, VMDK_TEXT, "vmdk"), (VDI_AT, VDI, "vdi"))
_HEAD_BYTES = max(at + len(magic) for at, magic, _ in _BEGINNINGS)
_FILE, _KIND, _DEVICE = 0o100000, 0o170000, 0o060000


# What is said of a disk of the network beside its URI; those that are paths, of this machine, are hyperd's too.
_PATHS = ("tls-certificates", "tls-psk-file", "password-file")
_WORDS = ("tls-hostname", "user")
OF_DISK, OF_MOUNT = ("format",), ("source", "target", "readonly", "subpath")
OF_NBD, OF_ISCSI = ("tls-certificates", "tls-psk-file", "tls-hostname", "user"), ("user", "password-file")
OF_RBD, CLUSTER = ("cluster",), "ceph"  # as Ceph itself calls the only one


def disk_source(kind: str, values: dict[str, str], typed: str) -> dict[str, Any]:
    """``kind``: disk, nbd, iscsi or rbd; the keys are those that it takes."""
    if kind == "rbd":
        return _image(values, typed)
    if kind != "disk":
        return _network(kind, values, typed)
    if not values.get("source"):
        raise UsageError(f"invalid --mount {typed!r}: type disk needs a source, a file or a block device")
    path = os.path.abspath(values["source"])  # noqa: PTH100
    return {"kind": "disk", "path": path, "format": values.get("format") or _format(path, typed)}


def volume_name(where: str, kind: str = "disk") -> str:
    """The same for all containers of a pod that mount the disk at this path or URI: it is one volume of theirs."""
    return f"{kind}-{hashlib.sha256(where.encode(errors='surrogateescape')).hexdigest()[:16]}"


def _network(kind: str, values: dict[str, str], typed: str) -> dict[str, Any]:
    scheme, colon, _ = (uri := values.get("source", "")).partition("://")
    if not colon or not scheme.startswith(kind):
        example = "nbd://HOST/EXPORT" if kind == "nbd" else "iscsi://HOST/TARGET/LUN"
        raise UsageError(
            f"invalid --mount {typed!r}: type {kind} needs a source, a URI", hint=f"source={example}"
        )
    asked = {"kind": "network", "uri": uri}
    asked |= {key.replace("-", "_"): os.path.abspath(values[key]) for key in _PATHS if key in values}  # noqa: PTH100
    return asked | {key.replace("-", "_"): values[key] for key in _WORDS if key in values}


def _image(values: dict[str, str], typed: str) -> dict[str, Any]:
    if "/" not in values.get("source", ""):
        raise UsageError(
            f"invalid --mount {typed!r}: type rbd needs a source, an image", hint="source=POOL/IMAGE"
        )
    return {"kind": "network", "uri": f"rbd://{values.get('cluster', CLUSTER)}/{values['source']}"}


def _format(path: str, typed: str) -> str:
    try:
        kind = os.stat(path).st_mode & _KIND
        if kind == _DEVICE:
            return "raw"
        head = b""
        if kind == _FILE:
            with open(path, "rb") as file:
                head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise UsageError(f"invalid --mount {typed!r}: {path}: {error.strerror}") from None
    for at, magic, format_ in _BEGINNINGS:
        if head.startswith(magic, at):
            return format_
    raise UsageError(
        f"invalid --mount {typed!r}: {path} does not say which format it has",
        hint="format=raw, where it is raw",
    )
