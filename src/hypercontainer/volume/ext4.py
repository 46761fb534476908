"""What has to be known of an ext4 before a guest has it.

Source: Documentation/filesystems/ext4/super.rst of Linux.
"""

from __future__ import annotations

import os
from pathlib import Path

SUPERBLOCK_AT = 1024
_MAGIC_AT, _MAGIC = 56, 0xEF53
_INCOMPATIBLE_AT, _RECOVER = 96, 0x4
_BYTES = 1024
_BLOCKS_AT, _BLOCKS_HIGH_AT, _BLOCK_LOG_AT = 4, 0x150, 24
GROUP_BLOCKS = 32768
# A last group of fewer is of no use, and left out.
LEAST_GROUP_BLOCKS = 3000


def needs_recovery(path: Path) -> bool:
    """Whether its journal has to be replayed before anything can be read, for which it has to be written to."""
    head, _ = _read(path)
    return bool(head and _number(head, _INCOMPATIBLE_AT) & _RECOVER)


def is_smaller(path: Path) -> bool:
    """Whether it leaves a part of its disk unused, since that has got larger."""
    head, size_bytes = _read(path)
    if not head:
        return False
    blocks = _number(head, _BLOCKS_AT) | _number(head, _BLOCKS_HIGH_AT) << 32
    left = (size_bytes >> (10 + (_number(head, _BLOCK_LOG_AT) & 7))) - blocks
    return left > (0 if blocks % GROUP_BLOCKS else LEAST_GROUP_BLOCKS)


def _read(path: Path) -> tuple[bytes, int]:
    """The superblock, b"" of what has none, and the size of the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head, size_bytes = os.pread(fd, _BYTES, SUPERBLOCK_AT), os.fstat(fd).st_size
    finally:
        os.close(fd)
    magic = int.from_bytes(head[_MAGIC_AT : _MAGIC_AT + 2], "little")
    return (head if len(head) == _BYTES and magic == _MAGIC else b""), size_bytes


def _number(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 4], "little")
