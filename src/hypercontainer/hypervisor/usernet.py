"""The network behind a NIC: a process of ``native/usernet.c`` for each, which is libslirp.

It speaks Ethernet with the VM's process over a pair of sockets, takes forwards on a socket in the run directory, and
ends with the guest.  It sees its program and libraries, what the host says of name servers, and the host's network,
and makes the system calls that are named here.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from functools import cache
from pathlib import Path

import hypercontainer
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, NotFound, Unavailable
from hypercontainer.hypervisor import programs
from hypercontainer.hypervisor.resolver import NAMES, RESOLVER
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import UserNat
from hypercontainer.linux import confine, executable, unix
from hypercontainer.linux.confine import Means, Rights
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Arg, Op, Profile, Rule, compile_filter

PROGRAM = Path(hypercontainer.__file__).parent / "_native" / "usernet"
MISSING_HINT = "build it with `make setup`, or install Hyper from its wheel, which has it"
# What it is handed: 3 is the launcher's gate.
FRAMES_FD, CONTROL_FD = 4, 5
# Of an IP packet, both ways; the guest's NIC is told the same.
MTU, MAX_MTU = 1500, 65521
# The guest's address, whichever it is.
GUEST = "0.0.0.0"  # noqa: S104 - nothing is bound to it
DEADLINE_S = 10.0
_ANSWER_BYTES = 512
EPERM = 1
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
AF_INET, SOCK_STREAM, SOCK_DGRAM, SOCK_TYPE = 2, 1, 2, 0xF
PROT_WRITE, PROT_EXEC = 2, 4
NOT_BOTH = (0, PROT_WRITE, PROT_EXEC)
# The loader's, and those of a C library that starts: no more once the program runs (``close_in`` there).
STARTING = "execve access arch_prctl set_tid_address set_robust_list rseq".split()
# Its own, libslirp's, and the C library's for memory, time, random numbers and the resolver's file.
RUNNING = (
    "poll ppoll recvfrom recvmsg sendto sendmsg connect bind listen accept accept4 shutdown getsockname getpeername "
    "getsockopt setsockopt fcntl ioctl close read pread64 readv write writev lseek openat open fstat stat newfstatat "
    "statx brk munmap mremap madvise futex clock_gettime gettimeofday time getrandom getpid getppid gettid prlimit64 "
    "getrlimit setrlimit rt_sigaction rt_sigprocmask rt_sigreturn restart_syscall sched_yield exit exit_group "
    "tgkill umask"
).split()

_libraries: dict[str, tuple[str, ...]] = {}


@cache
def call_filter() -> bytes:
    """All that it may call; the jail begins it, so that starting a program and its libraries is in it."""
    rules = [
        *(
            Rule(("mmap", "mprotect"), ALLOW, (Arg(2, Op.MASKED_EQ, PROT_WRITE | PROT_EXEC, one),))
            for one in NOT_BOTH
        ),
        *(
            Rule(("socket",), ALLOW, (Arg(0, Op.EQ, AF_INET), Arg(1, Op.MASKED_EQ, SOCK_TYPE, kind)))
            for kind in (SOCK_STREAM, SOCK_DGRAM)
        ),
        *(Rule(("prctl",), ALLOW, (Arg(0, Op.EQ, what),)) for what in (PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS)),
        Rule((*STARTING, *RUNNING), ALLOW),
    ]
    return compile_filter(Profile(ERRNO | EPERM, tuple(rules), x86=False, x32=False), ())


def argv(network: UserNat, run: RunDir, means: Means, *, mtu: int = MTU, tap: bool = False) -> list[str]:
    """Its command line, for the descriptors ``FRAMES_FD`` and ``CONTROL_FD``; ``network`` is checked.  ``tap``: the
    first is such a device."""
    seen = Path(NAMES) if means.namespaces else run.names
    guest = ipaddress.IPv4Interface(network.guest_cidr)
    command = [str(PROGRAM), str(FRAMES_FD), str(CONTROL_FD), f"network={guest.network}"]
    command += [f"gateway={network.gateway}", f"dns={network.dns}", f"guest={guest.ip}"]
    command += ["restrict"] if network.restrict else []
    command += ["tap"] if tap else []
    command += [f"hostname={network.hostname}"] if network.hostname else []
    command += [f"mtu={mtu}", f"offers={seen / run.offers.name}"]
    for port in network.forwards:
        command.append(
            f"forward={port.protocol}:{port.host_ip}:{port.host_port}:{guest.ip}:{port.container_port}"
        )
    return command


async def rights(network: UserNat, run: RunDir, means: Means, uid: int | None) -> Rights:
    """What it needs; ``run`` has what the host says of name servers, and what it offers.  Raises ``Unavailable`` where
    it is not built."""
    files, links = [(name, name) for name in await _files()], []
    if means.namespaces:
        files.append((str(run.names), NAMES))
        links.append((f"{NAMES}/{run.resolver.name}", RESOLVER))
    else:
        files.append((str(run.names), str(run.names)))
        files += [(RESOLVER, RESOLVER)] if Path(RESOLVER).exists() else []
    first_free = confine.unprivileged_port_start()
    return Rights(
        files=tuple(files),
        links=tuple(links),
        uid=uid,
        low_ports=any(port.host_port < first_free for port in network.forwards),
        filter=call_filter(),
    )


async def _files() -> tuple[str, ...]:
    """The program and, where it is not a wheel's, which has all in it, its libraries."""
    try:
        key = programs.program_key(executable.mended(PROGRAM))
    except FileNotFoundError:
        raise Unavailable(f"a guest can have no network: there is no {PROGRAM}", hint=MISSING_HINT) from None
    if key not in _libraries:
        linked = await programs.libraries(PROGRAM)
        linker = [programs.LINKER_CACHE] if linked and Path(programs.LINKER_CACHE).exists() else []
        _libraries.clear()
        _libraries[key] = tuple(dict.fromkeys((str(PROGRAM), *linked, *linker)))
    return _libraries[key]


async def ready(path: Path) -> None:
    """Returns once it has begun, with the forwards of its command line; ``HypervisorError`` where it could not."""
    await _asked(path, "ready")


async def add(path: Path, port: PortMapping, guest: str = GUEST) -> None:
    """Forwards a port of the host to the guest's, by the control socket at ``path``.

    Raises ``Unavailable`` where the port is not to be had, ``HypervisorError`` where nobody answers.
    """
    if problem := await _asked(path, adding(port, guest)):
        raise refused(port, problem)


def adding(port: PortMapping, guest: str = GUEST) -> str:
    """The request for a forward; ``removing``: that it goes."""
    return f"add {_where(port)} {guest} {port.container_port}"


def removing(port: PortMapping) -> str:
    return f"remove {_where(port)}"


def _where(port: PortMapping) -> str:
    return f"{port.protocol} {port.host_ip} {port.host_port}"


def refused(port: PortMapping, problem: str) -> Unavailable:
    named = f"{port.host_ip}:{port.host_port}/{port.protocol}"
    return Unavailable(f"cannot forward {named}: {problem}", hint="is the port taken, or privileged?")


async def remove(path: Path, port: PortMapping) -> None:
    """Raises ``NotFound`` where there is no such forward, ``HypervisorError`` where nobody answers."""
    if problem := await _asked(path, removing(port)):
        raise NotFound(f"no forward of {port.protocol}:{port.host_ip}:{port.host_port}: {problem}")


async def _asked(path: Path, request: str) -> str:
    """What stands against it, or ""."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.closing(unix.connect(path, kind=socket.SOCK_SEQPACKET)) as client:
                await loop.sock_sendall(client, request.encode())
                answer = (await loop.sock_recv(client, _ANSWER_BYTES)).decode(errors="replace")
    except TimeoutError:
        raise HypervisorError(f"the network at {path} did not answer within {DEADLINE_S:g} s") from None
    except OSError as error:
        raise HypervisorError(f"the network at {path} cannot be reached: {error.strerror}") from error
    if not answer:
        raise HypervisorError(f"the network at {path} has ended")
    return problem_in(answer)


def problem_in(answer: str) -> str:
    """What stands against what was asked for, or ""."""
    word, _, problem = answer.partition(" ")
    if word not in ("ok", "error"):
        raise HypervisorError(f"not understood: {answer[:80]}")
    return problem if word == "error" else ""
