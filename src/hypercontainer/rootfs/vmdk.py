"""Several files as one disk: a VMDK descriptor of flat extents, which QEMU reads."""

from __future__ import annotations

from collections.abc import Sequence

from hypercontainer.errors import InvalidArgument

from .tree import BLOCK_SIZE

SECTOR_BYTES = 512


def vmdk_descriptor(extents: Sequence[tuple[str, int]]) -> str:
    """The descriptor of a disk of ``extents``: path as QEMU is to open it, and size in bytes.

    QEMU (block/vmdk.c) takes the lines from the first that starts with ``RW``, and where a blank line comes
    before that, 7.2 takes the first extent twice.  So there is none.
    """
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        "CID=fffffffe",
        "parentCID=ffffffff",
        'createType="twoGbMaxExtentFlat"',
    ]
    for path, size_bytes in extents:
        if size_bytes <= 0 or size_bytes % BLOCK_SIZE:
            raise InvalidArgument(f"extent {path!r} has {size_bytes} bytes, not a multiple of {BLOCK_SIZE}")
        if '"' in path or any(ord(character) < 0x20 for character in path):
            raise InvalidArgument(f"extent {path!r} has a character that a VMDK descriptor cannot hold")
        lines.append(f'RW {size_bytes // SECTOR_BYTES} FLAT "{path}" 0')
    return "\n".join(lines) + "\n"
