"""One file that is read by asking this process: a file system of one name, by the kernel's FUSE.

Messages are those of linux/fuse.h, version 7.31.  The mount is in a mount namespace of this process's own: nobody sees
it by its path, whoever is root reaches it below ``/proc/PID/root``, and it goes with the process.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path

NAME = "disk"
THREADS = 16  # that read at once
_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MS_FLAGS = 1 | 2 | 4 | 8  # read-only, nosuid, nodev, noexec
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _STATFS, _RELEASE = 1, 2, 3, 14, 15, 17, 18
_INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 26, 36, 38, 42
_SILENT = frozenset({_FORGET, _INTERRUPT, _BATCH_FORGET})
_MAJOR, _MINOR = 7, 31
_ASYNC_READ, _KEEP_CACHE = 1, 2
_ROOT, _FILE = 1, 2
_IN, _OUT = struct.Struct("=IIQQIIIHH"), struct.Struct("=IiQ")
_INIT_IN, _INIT_OUT = struct.Struct("=IIII"), struct.Struct("=IIIIHHIIHHI28x")
_ATTR = struct.Struct("=6Q10I")
_READ_IN = struct.Struct("=QQI")
_FOREVER = 1 << 40  # seconds for which the kernel need not ask again
_BUFFER_BYTES = 1 << 17
_BACKGROUND = 64  # reads ahead that the kernel has asked for at a time
_libc = ctypes.CDLL(None, use_errno=True)

log = logging.getLogger(__name__)


class ReadOnlyFile:
    """Mounted first, served later; who opens it meanwhile waits."""

    def __init__(self) -> None:
        self._size = 0
        self._read: Callable[[int, int], bytes] = lambda offset, length: b""
        self._opened: Callable[[int], None] = lambda count: None
        self._open = 0
        self._lock = threading.Lock()
        self._fd = -1

    def mount(self, place: Path) -> None:
        """At ``place``, which is there, in a mount namespace that this process is in from now on; it must have one
        thread only.  Raises ``OSError``."""
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
        _checked(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None), "mounts")
        options = f"fd={self._fd},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},allow_other"
        target = os.fsencode(place)
        _checked(
            _libc.mount(b"hyper", target, b"fuse.hyper", ctypes.c_ulong(_MS_FLAGS), options.encode()), "mount"
        )

    def serve(
        self, size_bytes: int, read: Callable[[int, int], bytes], opened: Callable[[int], None]
    ) -> None:
        """In threads of their own, until the process ends.

        ``read`` gets offset and length, inside the file, and may raise ``OSError``; it is called in many threads.
        ``opened`` is told how many have the file open, each time that changes.
        """
        self._size, self._read, self._opened = size_bytes, read, opened
        for number in range(THREADS):
            threading.Thread(target=self._serve, name=f"fuse-{number}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                message = os.read(self._fd, _BUFFER_BYTES)
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno == errno.ENOENT:  # a request that was taken back
                    continue
                return  # ENODEV: it is unmounted
            _, code, unique, node, *_ = _IN.unpack_from(message)
            if code in _SILENT:
                continue
            try:
                problem, answer = 0, self._answer(code, node, memoryview(message)[_IN.size :])
            except OSError as error:
                problem, answer = error.errno or errno.EIO, b""
            except Exception:
                log.exception("a read of the disk failed")
                problem, answer = errno.EIO, b""
            head = _OUT.pack(_OUT.size + len(answer), -problem, unique)
            try:
                os.writev(self._fd, [head, answer])
            except OSError as error:
                if error.errno != errno.ENOENT:  # who asked is gone
                    return

    def _answer(self, code: int, node: int, body: memoryview) -> bytes:
        match code:
            case x if x == _INIT:
                return self._init(body)
            case x if x == _LOOKUP:
                if node != _ROOT or bytes(body).rstrip(b"\0") != NAME.encode():
                    raise OSError(errno.ENOENT, "there is one file")
                return struct.pack("=QQQQII", _FILE, 0, _FOREVER, _FOREVER, 0, 0) + self._attributes(_FILE)
            case x if x == _GETATTR:
                return struct.pack("=QII", _FOREVER, 0, 0) + self._attributes(node)
            case x if x == _OPEN:
                self._count(1)
                return struct.pack("=QII", 0, _KEEP_CACHE, 0)
            case x if x == _READ:
                _, offset, size = _READ_IN.unpack_from(body)
                size = max(0, min(size, self._size - offset))
                return self._read(offset, size) if size else b""
            case x if x == _RELEASE:
                self._count(-1)
                return b""
            case x if x == _STATFS:
                return struct.pack("=5Q4I24x", 0, 0, 0, 1, 0, 4096, 255, 4096, 0)
            case x if x == _DESTROY:
                return b""
        raise OSError(errno.ENOSYS, "not a call that a file for reading needs")

    def _init(self, body: memoryview) -> bytes:
        _, minor, readahead, flags = _INIT_IN.unpack_from(body)
        flags &= _ASYNC_READ
        return _INIT_OUT.pack(
            *(_MAJOR, min(minor, _MINOR), readahead, flags),
            *(_BACKGROUND, _BACKGROUND * 3 // 4, 4096, 1, 0, 0, 0),
        )

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFDIR | 0o555 if node == _ROOT else stat.S_IFREG | 0o444
        size = 0 if node == _ROOT else self._size
        return _ATTR.pack(node, size, -(-size // 512), 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change
            count = self._open
        self._opened(count)


def _checked(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
