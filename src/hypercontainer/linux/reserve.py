"""Space set aside on a disk, so that what has to be written down can be when somebody else has filled it.

Without it nothing could be removed from a full disk: a removal is written down before it is done.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar

from hypercontainer.linux import disk

RESERVE_BYTES = 2 << 20
STEP_BYTES = 256 << 10  # given at a time: whoever fills the disk takes it too

_SQLITE_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})

T = TypeVar("T")


class Reserve:
    """A file at ``path`` that only takes room."""

    def __init__(self, path: Path, size_bytes: int = RESERVE_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def keep(self) -> None:
        """Takes all of the room, where there is so much."""
        with contextlib.suppress(OSError), self._open() as file:
            before = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), 0, self._size_bytes)
            except OSError:
                file.truncate(before)

    def give(self) -> bool:
        """Gives some of the room up; False where there is none left to give."""
        with contextlib.suppress(OSError), self._open() as file:
            size = os.fstat(file.fileno()).st_size
            file.truncate(max(0, size - STEP_BYTES))
            return size > 0
        return False

    def spend(self, operation: Callable[[], T]) -> T:
        """Does it, with room of the reserve where the disk is full.  What fails must have changed nothing."""
        while True:
            try:
                return operation()
            except (OSError, sqlite3.Error) as error:
                if not _is_full(error) or not self.give():
                    raise

    def _open(self) -> FileIO:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return FileIO(fd, "r+")


def _is_full(error: OSError | sqlite3.Error) -> bool:
    if isinstance(error, OSError):
        return error.errno in disk.FULL
    return getattr(error, "sqlite_errorcode", None) in _SQLITE_FULL
