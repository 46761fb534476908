"""A full or failing disk, as an error that names the place and the remedy."""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
from pathlib import Path

from hypercontainer.errors import DiskFull, Remedy, Unavailable

ROOM_BYTES = 512 << 20
ROOM_SHARE = 20  # of a small disk, this part of it

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def unavailable(what: str, where: Path | str, error: OSError) -> Unavailable:
    """``where``: what is on the disk, a path of ours that the user can look at."""
    message = f"{what}: {error.strerror or error}: {where}"
    if error.errno in FULL:
        return _full(message)
    return Unavailable(message, hint="see to the disk's health")


def _full(message: str) -> DiskFull:
    return DiskFull(message, hint="free some space there", remedies=[Remedy("system.prune")])


def of_database(what: str, error: sqlite3.Error) -> Unavailable:
    """The same of a database, of which ``what`` names the file."""
    message = f"{what}: {error}"
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return _full(message)
    return Unavailable(message, hint="is the disk full, or the file damaged?")


def keep_room(fd: int) -> None:
    """OSError (ENOSPC) where the disk of an open file has less room than what is kept for those who must go on: for
    guests' disks, and for writing down what happens.  For whoever brings what can be brought again."""
    room = os.fstatvfs(fd)
    floor = min(ROOM_BYTES, room.f_blocks * room.f_frsize // ROOM_SHARE)
    if room.f_bavail * room.f_frsize < floor:
        raise OSError(
            errno.ENOSPC, f"less than {floor >> 20} MiB are left, which are kept free for what runs"
        )


def flush(path: Path) -> None:
    """What a file or a directory holds is on the disk when this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def flush_all(path: Path) -> None:
    """As ``flush``, with all else that the file system of this file or directory holds."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(fd)


def folder_of(fd: int) -> Path:
    """The directory of an open file, for messages."""
    return Path(os.readlink(f"/proc/self/fd/{fd}")).parent
