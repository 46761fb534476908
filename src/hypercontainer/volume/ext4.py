"""What has to be known of an ext4 before a guest has it.

Source: Documentation/filesystems/ext4/super.rst of Linux.
"""

from __future__ import annotations

import os
from pathlib import Path

SUPERBLOCK_AT = 1024
_MAGIC_AT, _MAGIC = 56, 0xEF53
_INCOMPATIBLE_AT, _RECOVER = 96, 0x4
_BYTES = 100


def needs_recovery(path: Path) -> bool:
    """Whether its journal has to be replayed before anything can be read, for which it has to be written to."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(fd, _BYTES, SUPERBLOCK_AT)
    finally:
        os.close(fd)
    if len(head) < _BYTES or int.from_bytes(head[_MAGIC_AT : _MAGIC_AT + 2], "little") != _MAGIC:
        return False
    return bool(int.from_bytes(head[_INCOMPATIBLE_AT:], "little") & _RECOVER)
