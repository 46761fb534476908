"""The header of a VDI file, VirtualBox's.  Source: block/vdi.c of QEMU."""

from __future__ import annotations

import struct

from hypercontainer.contract.disk_formats import VDI, VDI_AT
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.volume.sizes import SECTOR_BYTES, check_size

# After a text: signature, version, length of the header, kind, flags, a description; where map and data are,
# a geometry, bytes of a sector; bytes of the disk, of a block, beside each block; blocks, of them there; four UUIDs.
_HEAD = struct.Struct("<64x4I4x256x2I12xI4xQ4I32x32s")
HEADER_BYTES = _HEAD.size
_VERSION = 0x10001
_DYNAMIC, _FIXED = 1, 2
_BLOCK_BYTES = 1 << 20  # QEMU has no others
_OTHERS = slice(HEADER_BYTES - 32, HEADER_BYTES)  # the last two


def vdi_size(name: str, head: bytes, file_bytes: int) -> int:
    """The size of the disk in a VDI file that begins like ``head`` (``HEADER_BYTES`` of it are enough)."""
    if len(head) < HEADER_BYTES or file_bytes < HEADER_BYTES:
        raise InvalidArgument(f"disk {name}: too short for a vdi file")
    fields: tuple[int, ...] = _HEAD.unpack_from(head)[:-1]
    _, version, _, kind, map_at, data_at, sector, size, block, _, blocks, _ = fields
    if not head.startswith(VDI, VDI_AT):
        raise InvalidArgument(f"disk {name}: not a vdi file", hint="is its format raw?")
    if version != _VERSION:
        raise NotSupported(f"disk {name}: vdi version {version >> 16}.{version & 0xFFFF}: 1.1")
    if kind not in (_DYNAMIC, _FIXED) or any(head[_OTHERS]):
        hint = f"make it whole: VBoxManage clonemedium disk {name} NEW"
        raise NotSupported(
            f"disk {name}: is what differs from another disk, and that is not opened for it", hint=hint
        )
    if sector != SECTOR_BYTES or block != _BLOCK_BYTES:
        raise NotSupported(
            f"disk {name}: sectors of {sector} bytes, blocks of {block}: {SECTOR_BYTES} and {_BLOCK_BYTES}"
        )
    check_size(name, size)
    if map_at % SECTOR_BYTES or data_at % SECTOR_BYTES or map_at + 4 * blocks > file_bytes:
        raise InvalidArgument(f"disk {name}: its map of {blocks} blocks at {map_at} cannot be")
    if blocks * _BLOCK_BYTES < size:
        raise InvalidArgument(f"disk {name}: {blocks} blocks for a disk of {size} bytes")
    return size
