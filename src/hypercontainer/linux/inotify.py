"""Files that are replaced or written, as an event (inotify(7))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC  # which are IN_NONBLOCK and IN_CLOEXEC
_MODIFY, _CLOSE_WRITE, _MOVED_TO, _CREATE = 0x2, 0x8, 0x80, 0x100
_BATCH_BYTES = 1 << 16


def watch(directories: Iterable[Path], *, made: bool = False, grown: bool = False) -> int:
    """A descriptor that can be read once a file in one of them is another, or also is ``made`` or has ``grown``; the
    caller's.  Raises ``OSError``."""
    events = _CLOSE_WRITE | _MOVED_TO | (_CREATE if made else 0) | (_MODIFY if grown else 0)
    fd: int = _libc.inotify_init1(_FLAGS)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for directory in directories:
        if _libc.inotify_add_watch(fd, os.fsencode(directory), events) < 0:
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
