"""The program that is the guest's kernel: how one is told, and what it is left where it runs.

Its rights are a file that may be run, which is itself; no other file, no device, no network; of the host's system calls
those that it makes, of which opening a file or a socket is none.
"""

from __future__ import annotations

import errno
import mmap
import signal
from functools import cache, lru_cache
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.programs import file_key
from hypercontainer.hypervisor.uml.argv import PROGRAM, Mode
from hypercontainer.linux.confine import Rights
from hypercontainer.linux.seccomp import ALLOW, ENOSYS, ERRNO, Arg, Op, Profile, Rule, compile_filter

# Only a kernel with guest/kernel/patches/um says this; without them it could be handed nothing.
_MARK = b"hyper_port="
_SHARES_MARK = b"virtio_uml.device="
_MAX_BYTES = 1 << 30

AF_UNIX, SOCK_STREAM, SET_MODE_FILTER, TSYNC, AT_EMPTY_PATH = 1, 1, 1, 1, 0x1000
PLAIN = tuple(
    (
        "brk set_tid_address set_robust_list rseq getrandom uname exit exit_group mmap munmap mprotect ftruncate lseek "
        "read write readv writev pread64 pwrite64 fdatasync dup dup2 close close_range epoll_create epoll_ctl "
        "epoll_wait poll signalfd4 timer_create timer_settime clock_gettime rt_sigaction rt_sigprocmask rt_sigreturn "
        "sigaltstack futex wait4 gettid getpid sendmsg recvmsg sendmmsg recvmmsg sched_getaffinity sched_setaffinity "
        "getcpu"
    ).split()
)
# Calls, which of their arguments counts, and what it may be.
WITH: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("clone", 0, (0x4111, 0x4100, 0x3D0F00)),  # a process for the guest's, the trial of one, a thread
    ("execveat", 4, (AT_EMPTY_PATH,)),
    ("newfstatat", 3, (AT_EMPTY_PATH,)),
    ("sendto", 4, (0,)),  # where the socket is connected to
    ("fcntl", 1, (2, 3, 4, 8, 10, 1033)),  # F_SETFD F_GETFL F_SETFL F_SETOWN F_SETSIG F_ADD_SEALS
    ("ioctl", 1, (0x1260,)),  # BLKGETSIZE: a disk that is a device
    ("prctl", 0, (1, 15)),  # PR_SET_PDEATHSIG PR_SET_NAME
    ("arch_prctl", 0, (0x1001, 0x1002)),  # ARCH_SET_GS ARCH_SET_FS
    ("madvise", 2, (4, 9)),  # MADV_DONTNEED MADV_REMOVE
    ("fallocate", 1, (0x3, 0x11)),  # PUNCH_HOLE and ZERO_RANGE, with KEEP_SIZE
    ("kill", 1, (signal.SIGKILL, signal.SIGALRM, signal.SIGIO)),
    ("tgkill", 2, (32,)),  # the C library's, to end a thread
    ("memfd_create", 1, (0x1, 0x3, 0x9, 0x13)),  # MFD_CLOEXEC, with and without seals and the right to be run
)
FOR_SHARES: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("eventfd2", 1, (0,)),  # by which a server hears that there is something to do
)
FOR_PTRACE: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    ("clone", 0, (0x1200011,)),  # fork, for the trial of it
    ("kill", 1, (signal.SIGSTOP,)),
    # TRACEME PEEKUSER POKEUSER CONT KILL GETREGS SETREGS SYSCALL SYSEMU SYSEMU_SINGLESTEP SETOPTIONS GETSIGINFO
    # GETREGSET SETREGSET
    ("ptrace", 0, (0, 3, 6, 7, 8, 12, 13, 24, 31, 32, 0x4200, 0x4202, 0x4204, 0x4205)),
)


def check(kernel: Path, *, shares: bool = False) -> None:
    """``shares``: it has to have them.  Raises ``InvalidArgument`` for what this driver cannot run, and ``OSError`` for
    what cannot be read."""
    if problem := _problem(file_key(kernel), kernel, shares=shares):
        raise InvalidArgument(
            f"the kernel is no User Mode Linux{problem}",
            hint="`make kernel FLAVOUR=um` builds one; guest/kernel/patches/um has what it needs",
        )


@lru_cache(maxsize=16)
def _problem(key: str, kernel: Path, *, shares: bool) -> str:
    """What stands against it, or ""; by the file as it is, since to read all of it takes some milliseconds."""
    with kernel.open("rb") as file:
        if file.read(4) != b"\x7fELF" or file.seek(0, 2) > _MAX_BYTES:
            return ": it is no program"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_MARK) < 0:
                return ", or one without Hyper's patches"
            return " that has directories of the host" if shares and data.find(_SHARES_MARK) < 0 else ""


def rights(kernel: Path, uid: int | None, mode: Mode, *, shares: bool = False) -> Rights:
    return Rights(
        files=((str(kernel), PROGRAM),),
        network=False,
        uid=uid,
        filter=call_filter(mode, shares=shares),
        children=True,
        fixed_layout=True,
    )


@cache
def call_filter(mode: Mode, *, shares: bool = False) -> bytes:
    """From the moment when the program begins, of the kernel, its threads, and the processes that run the guest's.

    Of a guest's calls, which its kernel hears of by a trap that counts for more than a refusal, none is killed here:
    those of other architectures are its kernel's to refuse too.
    """
    rules = [Rule(PLAIN, ALLOW), Rule(("clone3",), ENOSYS)]  # the C library then takes the older call
    more = (*(FOR_SHARES if shares else ()), *(FOR_PTRACE if mode is Mode.PTRACE else ()))
    for name, index, values in (*WITH, *more):
        rules += [Rule((name,), ALLOW, (Arg(index, Op.EQ, value),)) for value in values]
    rules.append(Rule(("socketpair",), ALLOW, (Arg(0, Op.EQ, AF_UNIX), Arg(1, Op.EQ, SOCK_STREAM))))
    rules.append(Rule(("prlimit64",), ALLOW, (Arg(0, Op.EQ, 0), Arg(2, Op.EQ, 0))))  # to read its own
    rules.append(Rule(("seccomp",), ALLOW, (Arg(0, Op.EQ, SET_MODE_FILTER), Arg(1, Op.EQ, TSYNC))))
    rules += [Rule(("getppid",), ALLOW)] if mode is Mode.PTRACE else []
    refused = ERRNO | errno.EPERM
    return compile_filter(Profile(refused, tuple(rules), x86=False, x32=False, foreign=refused), ())
