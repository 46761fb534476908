"""Files that are replaced or written, as an event (inotify(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # which are IN_NONBLOCK and IN_CLOEXEC
_CLOSE_WRITE, _MOVED_TO = 0x8, 0x80
_BATCH_BYTES = 1 << 16


def watch(directories: Iterable[Path]) -> int:
    """A descriptor that can be read once a file in one of them is another; the caller's.  Raises ``OSError``."""
    fd: int = _libc.inotify_init1(_FLAGS)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for directory in directories:
        if _libc.inotify_add_watch(fd, os.fsencode(directory), _CLOSE_WRITE | _MOVED_TO) < 0:
            code = ctypes.get_errno()
            os.close(fd)
            raise OSError(code, os.strerror(code), str(directory))
    return fd


def forget(fd: int) -> None:
    """All that has happened so far."""
    try:
        while os.read(fd, _BATCH_BYTES):
            pass
    except BlockingIOError:
        return
