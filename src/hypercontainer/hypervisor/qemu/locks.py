"""QEMU's locks on a disk's file, to say in words what QEMU would end for.

Each permission that a QEMU uses of a file is a lock on one byte of it, and each that it grants nobody else one on
another; see file-posix.c of QEMU.  Only QEMU takes them; what comes between this look and QEMU's own, QEMU refuses.
"""

from __future__ import annotations

import fcntl
import os
import struct

_WRITE = 1  # BLK_PERM_WRITE's bit
_USED_AT, _DENIED_AT = 100, 200
_GETLK = 36  # F_OFD_GETLK
_FLOCK = struct.Struct("@hhqqi4x")


def taken(fd: int, *, read_only: bool) -> bool:
    """Whether somebody else's lock is against reading the file, or writing to it."""
    byte = (_USED_AT if read_only else _DENIED_AT) + _WRITE
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    return bool(_FLOCK.unpack(fcntl.fcntl(fd, _GETLK, asked))[0] != fcntl.F_UNLCK)
