"""Disks of the user's own as they are typed (``--mount type=disk``), and what the API is asked for
(contract/volumes.py)."""

from __future__ import annotations

import hashlib
import os

from hypercontainer.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The API is always told the format.  Here it may be left out, where a file says it of itself; that a file is raw is
# never concluded from what it does not say.
_MAGIC = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk Desc", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)
_HEAD_BYTES = 68
_FILE, _KIND, _DEVICE = 0o100000, 0o170000, 0o060000


def disk_source(values: dict[str, str], typed: str) -> dict[str, Any]:
    if not values.get("source"):
        raise UsageError(f"invalid --mount {typed!r}: type disk needs a source, a file or a block device")
    path = os.path.abspath(values["source"])  # noqa: PTH100
    return {"kind": "disk", "path": path, "format": values.get("format") or _format(path, typed)}


def volume_name(source: dict[str, Any]) -> str:
    """The same for all containers of a pod that mount this disk: it is one volume of theirs."""
    return f"disk-{hashlib.sha256(source['path'].encode(errors='surrogateescape')).hexdigest()[:16]}"


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
    for at, magic, format_ in _MAGIC:
        if head.startswith(magic, at):
            return format_
    raise UsageError(
        f"invalid --mount {typed!r}: {path} does not say which format it has",
        hint="format=raw, where it is raw",
    )
