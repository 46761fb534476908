"""QEMU's locks on a disk's file: looked at, to say in words what QEMU would end for, and taken for who is no QEMU.

Each permission that a QEMU uses of a file is a lock on one byte of it, and each that it grants nobody else one on
another; see file-posix.c of QEMU.  They are an open file's (``F_OFD_SETLK``, fcntl(2)): who is handed the descriptor
has them until the last copy is closed.
"""

from __future__ import annotations

import fcntl
import os
import struct

_WRITE = 1  # BLK_PERM_WRITE's bit
_USED_AT, _DENIED_AT = 100, 200
_GETLK, _SETLK = 36, 37  # F_OFD_GETLK, F_OFD_SETLK
_FLOCK = struct.Struct("@hhqqi4x")


def taken(fd: int, *, read_only: bool) -> bool:
    """Whether somebody else's lock is against reading the file, or writing to it."""
    byte = (_USED_AT if read_only else _DENIED_AT) + _WRITE
    asked = _lock(fcntl.F_WRLCK, byte)
    return bool(_FLOCK.unpack(fcntl.fcntl(fd, _GETLK, asked))[0] != fcntl.F_UNLCK)


def take(fd: int, *, read_only: bool) -> bool:
    """As a QEMU does that uses the file so; whether nobody else's lock is against it."""
    for byte in (_DENIED_AT, *(() if read_only else (_USED_AT,))):
        fcntl.fcntl(fd, _SETLK, _lock(fcntl.F_RDLCK, byte + _WRITE))
    # Each takes its own first and looks then: of two at once, one sees the other.
    return not taken(fd, read_only=read_only)


def _lock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
