"""Shuts this very process in, for good, once it has all that it will ever need.

Other than `confine`, which starts a program in a jail, this is for a program of ours with everything loaded: what is
left to it are its descriptors, memory, an empty root of its own and the system calls that are named.

Sources: setns(2), unshare(2), pivot_root(2), capset(2), prctl(2), seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Sequence

from hypercontainer.linux.syscalls import X86_64

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_MS_REC_PRIVATE = 0x4000 | 0x40000
_MS_NOTHING = 2 | 4 | 8  # nosuid, nodev, noexec
_DETACH = 2
_SET_DUMPABLE, _SET_SECCOMP, _BOUNDING_DROP, _NO_NEW_PRIVILEGES = 4, 22, 24, 38
_FILTER = 2
_CAPABILITIES, _LAST_CAPABILITY = 0x20080522, 63
_PLACE = b"/tmp"  # where the root is mounted before it is the root: every system has it
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def enter(namespaces: Sequence[int]) -> None:
    """Of descriptors, which are closed."""
    for fd in namespaces:
        _checked(_libc.setns(fd, 0), "setns")
        os.close(fd)


def seclude(uid: int | None, call_filter: bytes, *, tmp_kib: int) -> None:
    """``uid``: who it is from now on, where it is root.  Its root has nothing in it, and room for so much.
    ``call_filter``: struct sock_filter[]."""
    _empty_root(tmp_kib)
    if uid is not None:
        os.chown("/", uid, uid)
    give_up_rights(uid)
    _checked(_libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")
    instructions = ctypes.create_string_buffer(call_filter, len(call_filter))
    program = struct.pack("HxxxxxxP", len(call_filter) // 8, ctypes.addressof(instructions))
    _checked(_libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0), "seccomp")


def give_up_rights(uid: int | None = None) -> None:
    """All capabilities, for good, and the user, where ``uid`` is another; of this thread, and those that it starts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(_LAST_CAPABILITY + 1):
        _libc.prctl(_BOUNDING_DROP, number, 0, 0, 0)  # there is an end to those that the kernel knows
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", _CAPABILITIES, 0)
    _checked(_libc.capset(header, bytes(24)), "capset")
    _checked(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no-new-privs")


def _empty_root(tmp_kib: int) -> None:
    _checked(_libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC), "namespaces")
    _checked(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None), "mounts")
    options = f"mode=700,size={tmp_kib}k,nr_inodes=64".encode()
    _checked(_libc.mount(b"tmpfs", _PLACE, b"tmpfs", ctypes.c_ulong(_MS_NOTHING), options), "tmpfs")
    os.chdir(_PLACE)
    _checked(_libc.syscall(X86_64["pivot_root"], b".", b"."), "pivot_root")
    _checked(_libc.umount2(b".", _DETACH), "umount")
    os.chdir("/")


def _checked(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
