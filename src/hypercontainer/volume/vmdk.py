"""The header of a VMDK file, VMware's, and the text in it that says what the disk consists of.

One file that is all of its disk is taken.  The other kinds are a text that names any number of files, with which a disk
would consist of whatever is readable.  Sources: VMware's Virtual Disk Format 1.1, block/vmdk.c of QEMU.
"""

from __future__ import annotations

import re
import struct

from hypercontainer.contract.disk_formats import VMDK, VMDK_TEXT
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.volume.sizes import SECTOR_BYTES, check_size

# Version, flags; in sectors: the disk, a grain, where its text is and how long that is; entries of a table of grains;
# where the tables are, twice, and where the grains begin; whether it was not closed, ends of lines; compression.
_HEAD = struct.Struct("<4s2I4QI3Q5BH433x")
_TEXT_SECTORS = 128
HEADER_BYTES = _HEAD.size + _TEXT_SECTORS * SECTOR_BYTES
FOOTER_AT = -2 * SECTOR_BYTES  # from the end of the file
FOOTER_BYTES = _HEAD.size
_COMPRESSED = 1 << 16  # flag
_ENTRIES = 512
_GRAINS = range(1, 2049)
_AT_END = (1 << 64) - 1
_KINDS = {"monolithicSparse": False, "streamOptimized": True}  # whether it is compressed
_SAID = re.compile(rb'^[ \t]*(\w+)[ \t]*=[ \t]*"?([^"\r\n]*)', re.MULTILINE)
_EXTENT = re.compile(rb"^[ \t]*(?:RW|RDONLY|NOACCESS)[ \t]", re.MULTILINE)
_NO_PARENT = "ffffffff"


def vmdk_size(name: str, head: bytes, footer: bytes, *, write: bool) -> int:
    """The size of the disk in a VMDK file that begins like ``head`` (``HEADER_BYTES``) and whose last sector but one is
    ``footer``."""
    if head.startswith(VMDK_TEXT):
        raise _of_other_files(name)
    fields = _header(name, head)
    _, version, flags, sectors, grain, text_at, text_sectors, entries, _, tables_at, *_ = fields
    if not 1 <= version <= 3:
        raise NotSupported(f"disk {name}: vmdk version {version}: 1 to 3")
    if text_at != 1 or not 0 < text_sectors <= _TEXT_SECTORS:
        raise _of_other_files(name)
    compressed = _check_text(name, head[SECTOR_BYTES : (1 + text_sectors) * SECTOR_BYTES])
    if compressed != bool(flags & _COMPRESSED):
        raise InvalidArgument(
            f"disk {name}: its header and its text do not agree on whether it is compressed"
        )
    if write and (compressed or version == 3):
        raise NotSupported(
            f"disk {name}: a vmdk file of this kind (stream-optimized, or of version 3) can only be read",
            hint=f"mount it read-only, or {_convert(name)}",
        )
    check_size(name, sectors * SECTOR_BYTES)
    if grain not in _GRAINS or grain & (grain - 1) or entries != _ENTRIES:
        raise InvalidArgument(f"disk {name}: grains of {grain} sectors, {entries} to a table, cannot be")
    if tables_at == _AT_END and _header(name, footer)[3:8] != fields[3:8]:
        raise InvalidArgument(f"disk {name}: begins and ends with different headers")
    return sectors * SECTOR_BYTES


def _header(name: str, data: bytes) -> tuple[int, ...]:
    if len(data) < _HEAD.size:
        raise InvalidArgument(f"disk {name}: too short for a vmdk file")
    if not data.startswith(VMDK):
        raise InvalidArgument(f"disk {name}: not a vmdk file", hint="is its format raw?")
    return _HEAD.unpack_from(data)


def _check_text(name: str, text: bytes) -> bool:
    """Whether it is compressed; raises for a disk that consists of, or begins with, another file."""
    said: dict[str, str] = {}
    for key, value in _SAID.findall(text):
        said.setdefault(key.decode(), value.decode(errors="replace").strip())
    if said.get("parentCID", _NO_PARENT).lower() != _NO_PARENT or b"parentFileNameHint" in text:
        raise NotSupported(
            f"disk {name}: is what differs from another disk, and that is not opened for it",
            hint=_convert(name),
        )
    if said.get("createType", "") not in _KINDS or len(_EXTENT.findall(text)) > 1:
        raise _of_other_files(name)
    return _KINDS[said["createType"]]


def _of_other_files(name: str) -> NotSupported:
    what = f"disk {name}: is a part of a disk of several files, or names them, and no other file is opened for it"
    return NotSupported(what, hint=f"make it one file: {_convert(name)}")


def _convert(name: str) -> str:
    return f"qemu-img convert -O qcow2 {name} NEW"
