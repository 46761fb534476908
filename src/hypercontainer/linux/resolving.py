"""Paths that are resolved under conditions (openat2(2), Linux 5.6)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from hypercontainer.linux.syscalls import X86_64

CURRENT_DIRECTORY = -100  # AT_FDCWD
NO_MAGIC_LINKS, BENEATH = 0x02, 0x08
_ATTEMPTS = 64  # a directory that is renamed meanwhile makes the kernel give up (EAGAIN) where ".." stands
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def open_resolved(directory: int, path: str, flags: int, resolve: int) -> int:
    """As open(2), without leave to create; OSError also where ``resolve`` does not allow the way: with BENEATH, which
    leads out of ``directory``, EXDEV; ENOSYS where the system is not Linux."""
    if sys.platform != "linux":  # where the number is another call's
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)
    how = struct.pack("3Q", flags | os.O_CLOEXEC, 0, resolve)
    arguments = (ctypes.c_int(directory), os.fsencode(path), how, ctypes.c_size_t(len(how)))
    for _ in range(_ATTEMPTS):
        fd: int = _libc.syscall(ctypes.c_long(X86_64["openat2"]), *arguments)
        if fd >= 0:
            return fd
        if (code := ctypes.get_errno()) != errno.EAGAIN:
            break
    raise OSError(code, os.strerror(code), path)
