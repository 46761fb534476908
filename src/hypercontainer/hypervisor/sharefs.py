"""The server of a directory that several VMs write to at once: ``native/sharefs.c``, and the calls that it may make.

It is linked with all that it needs, so beside the directory there is nothing in its jail.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import hypercontainer
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Arg, Op, Profile, Rule, compile_filter

PROGRAM = Path(hypercontainer.__file__).parent / "_native" / "sharefs"
MISSING_HINT = "build it with `make setup`, or install Hyper from its wheel, which has it"
KEPT = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID")
EPERM = 1
PROT_EXEC, CLONE_THREAD, AT_EMPTY_PATH = 4, 0x10000, 0x1000
S_IFMT, S_IFCHR, S_IFBLK = 0o170000, 0o020000, 0o060000
FILES = (
    "open openat close read write readv writev preadv pwritev2 lseek getdents64 fallocate copy_file_range fsync "
    "fdatasync syncfs flock fcntl stat fstat newfstatat fstatfs statfs chmod truncate ftruncate utimensat fchownat "
    "mkdirat symlinkat linkat unlinkat renameat2 readlinkat setxattr getxattr listxattr removexattr umask setfsuid "
    "setfsgid capget capset"
).split()
# What a C library does for threads, memory and time; signals go to its own threads alone, by timers.
ITSELF = (
    "poll recvfrom recvmsg sendto brk mremap munmap madvise futex gettid getpid prlimit64 getrlimit setrlimit "
    "rt_sigaction rt_sigprocmask rt_sigreturn restart_syscall sched_yield arch_prctl set_tid_address set_robust_list "
    "timer_create timer_settime timer_delete membarrier exit exit_group"
).split()


def argv(socket_fd: int, *, squash: bool) -> list[str]:
    """``squash``: all files are one user's, who is root there."""
    return [str(PROGRAM), str(socket_fd), *(["squash"] if squash else [])]


@cache
def call_filter() -> bytes:
    """All that it may call; a program is begun by its descriptor alone, and there is no other in its jail."""
    special = (Arg(2, Op.MASKED_EQ, S_IFMT, kind) for kind in (S_IFCHR, S_IFBLK))
    rules = [
        *(Rule(("mknodat",), ERRNO | EPERM, (kind,)) for kind in special),
        Rule(("mmap", "mprotect"), ALLOW, (Arg(2, Op.MASKED_EQ, PROT_EXEC, 0),)),
        Rule(("clone",), ALLOW, (Arg(0, Op.MASKED_EQ, CLONE_THREAD, CLONE_THREAD),)),
        Rule(("execveat",), ALLOW, (Arg(4, Op.EQ, AT_EMPTY_PATH),)),
        Rule(("mknodat",), ALLOW),
        Rule((*FILES, *ITSELF), ALLOW),
    ]
    return compile_filter(Profile(ERRNO | EPERM, tuple(rules), x86=False, x32=False), ())
