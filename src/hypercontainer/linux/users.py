"""What another user may do with files, done as that user: no copy of the kernel's rules, no gap from test to use.

A thread of its own takes on the user's file system ids and groups (setfsuid(2), and setgroups(2) past the C library,
which would change every thread), does what is to be done, and ends.  With its file system uid a thread of root's
loses the capabilities that override permissions.  Nobody can signal or trace it any better than the rest of us.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from hypercontainer.linux.resolving import CURRENT_DIRECTORY, NO_MAGIC_LINKS, open_resolved
from hypercontainer.linux.syscalls import X86_64

_SO_PEERGROUPS = 59  # asm-generic/socket.h
_AT_EACCESS, _AT_EMPTY_PATH = 0x200, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

T = TypeVar("T")


@dataclass(frozen=True)
class User:
    """``groups`` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def peer(connection: socket.socket) -> User:
    """Who made a connection to a unix socket, as of then (unix(7), SO_PEERCRED and SO_PEERGROUPS)."""
    _, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    # More than getsockopt takes here (1024 bytes, in Python) is an error of its own: nobody is taken for less.
    packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    return User(uid, gid, struct.unpack(f"{len(packed) // 4}I", packed))


def as_user(user: User | None, call: Callable[[], T]) -> T:
    """What ``call`` returns or raises with the file rights of ``user``; None and root are this process's own.

    PermissionError where this process may not become that user.  ``call`` has a thread of its own: it must not take
    long, and must neither start processes nor use the event loop.
    """
    if user is None or user.uid in (0, os.geteuid()):
        return call()
    if os.geteuid() != 0:
        raise PermissionError(errno.EPERM, f"only root may act as user {user.uid}")
    result: list[T] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            _become(user)
            result.append(call())
        except BaseException as error:
            problem.append(error)

    thread = threading.Thread(target=run, name=f"as-{user.uid}")
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return result[0]


def open_theirs(path: str, flags: int) -> int:
    """open(2) of a user's path, for ``as_user``: it leads nowhere through ``/proc/self/fd`` and the like, which are
    ours and not theirs."""
    return open_resolved(CURRENT_DIRECTORY, path, flags, NO_MAGIC_LINKS)


def open_regular(path: str, user: User | None) -> int:
    """A descriptor to read a regular file of ``user``'s (None: this process); links are followed.  Nothing else is
    opened, as opening it may wait or have effects of its own: OSError says what it is."""

    def opened() -> int:
        place = open_theirs(path, os.O_PATH)
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{place}", flags)
        finally:
            os.close(place)

    return as_user(user, opened)


def may_access(fd: int, mode: int) -> bool:
    """access(2) with the ids of this thread, of what ``fd`` is, which may be open with O_PATH; Linux 5.8."""
    flags = _AT_EACCESS | _AT_EMPTY_PATH
    done = _libc.syscall(ctypes.c_long(X86_64["faccessat2"]), ctypes.c_int(fd), b"", mode, flags)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return False
    raise OSError(code, os.strerror(code))


def _become(user: User) -> None:
    """Of this thread, for good."""
    groups = (ctypes.c_uint32 * len(user.groups))(*user.groups)
    if _libc.syscall(ctypes.c_long(X86_64["setgroups"]), ctypes.c_size_t(len(user.groups)), groups) != 0:
        code = ctypes.get_errno()
        raise PermissionError(code, f"cannot act as user {user.uid}: {os.strerror(code)}")
    for name, wanted in (("setfsgid", user.gid), ("setfsuid", user.uid)):
        number = ctypes.c_long(X86_64[name])
        _libc.syscall(number, ctypes.c_uint32(wanted))
        # It answers with what was; -1 changes nothing.
        if _libc.syscall(number, ctypes.c_uint32(0xFFFFFFFF)) != wanted:
            raise PermissionError(errno.EPERM, f"cannot act as user {user.uid}")
