"""Processes by pidfd: started with exactly the descriptors they are given, and waited for as an event.

A pid can be reused between looking at it and acting on it; a pidfd cannot.  A ``Process`` owns one, for a child of
ours or for any other process; closing it does nothing to the process.  There is no other owner of the children
started here (no ``subprocess.Popen``, which reaps behind one's back), so that a child may outlive its ``Process``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# Signals that Python ignores and that a program expects to find at their defaults.
_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True)
class Identity:
    """Names one process for good: pid, start in clock ticks since boot, and which boot."""

    pid: int
    start_ticks: int
    boot_id: str


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def surroundings() -> str:
    """Of what a process may do here, all that differs between boots, users and containers that share a home."""
    spaces = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "mnt")]
    return " ".join([boot_id(), *spaces, str(os.geteuid())])


def start_ticks(pid: int) -> int | None:
    """Field 22 of ``/proc/PID/stat`` (proc(5)); None for a process that is gone."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else None


def runs(identity: Identity) -> bool:
    return boot_id() == identity.boot_id and start_ticks(identity.pid) == identity.start_ticks


def cpu_ns(pid: int) -> int:
    """User and system time of all threads; 0 for a process that is gone."""
    fields = _stat_fields(pid)
    ticks = int(fields[11]) + int(fields[12]) if fields else 0
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def family_cpu_ns(pid: int) -> int:
    """As ``cpu_ns``, with its children and all that it has waited for; what ends meanwhile may be missed."""
    fields = _stat_fields(pid)
    waited = sum(map(int, fields[13:15])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK") if fields else 0
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    return cpu_ns(pid) + waited + sum(map(cpu_ns, children))


def stopped(pid: int) -> bool:
    """Whether it stands still by a signal, or is about to, having been sent one (proc(5): state, ShdPnd)."""
    fields = _stat_fields(pid)
    if fields[:1] in (["T"], ["t"]):
        return True
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("ShdPnd:"):
                return bool(int(line.split()[1], 16) & 1 << (signal.SIGSTOP - 1))
    return False


def resident_bytes(pid: int) -> int:
    """0 for a process that is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _stat_fields(pid: int) -> list[str]:
    """Fields 3 and on of ``/proc/PID/stat``: the name before them is free text, parentheses and all."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


class Process:
    """A process, held by its pidfd."""

    def __init__(self, identity: Identity, pidfd: int) -> None:
        self.identity = identity
        self._pidfd = pidfd
        self._exit: tuple[int | None] | None = None

    @property
    def pid(self) -> int:
        return self.identity.pid

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        stdio: tuple[int, int, int],
        inherited: Sequence[int] = (),
    ) -> Self:
        """Starts ``argv`` in a session of its own.

        It has ``stdio`` as its descriptors 0-2, ``inherited`` as 3 and on, in that order, and no others.
        Raises ``OSError`` where ``argv[0]`` cannot be run.
        """
        sources = [*stdio, *inherited]
        with contextlib.ExitStack() as stack:
            actions: list[tuple[int, int] | tuple[int, int, int]] = []
            for target, source in enumerate(sources):
                # Out of the way of the targets first, or an early dup2 would overwrite a later source.
                copy = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, len(sources))
                stack.callback(os.close, copy)
                actions.append((os.POSIX_SPAWN_DUP2, copy, target))
            actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_from(len(sources))]
            pid = os.posix_spawn(
                argv[0],
                list(argv),
                dict(env),
                file_actions=actions,
                setsid=True,
                setsigdef=_RESET_SIGNALS,
                setsigmask=(),
            )
        return cls.child(pid)

    @classmethod
    def child(cls, pid: int) -> Self:
        """A child of ours: until it is reaped the pid is its own, and nobody else reaps it."""
        return cls(Identity(pid, start_ticks(pid) or 0, boot_id()), os.pidfd_open(pid))

    @classmethod
    def open(cls, identity: Identity) -> Self | None:
        """Takes hold of a process that is there already; None when it is gone."""
        if identity.boot_id != boot_id():
            return None
        try:
            pidfd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        # The pidfd comes first: if the start time is right now, it is the right process that is held.
        if start_ticks(identity.pid) != identity.start_ticks:
            os.close(pidfd)
            return None
        return cls(identity, pidfd)

    async def wait(self) -> int | None:
        """Waits for the end; the exit status as ``subprocess`` has it, or None if the process is not our child."""
        if self._exit is None:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            # A copy for each waiter, since an event loop has one reader for each descriptor.
            pidfd = os.dup(self._pidfd)
            try:
                loop.add_reader(pidfd, ended.set)
                await ended.wait()
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)
        return self._reap()

    def ended(self) -> bool:
        """Whether it has ended, without waiting."""
        if self._exit is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(0))
        return True

    def wait_now(self) -> int | None:
        """As ``wait``, of one that is about to end: nothing else is done meanwhile."""
        if self._exit is None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll()
        return self._reap()

    def _reap(self) -> int | None:
        if self._exit is None:
            code: int | None = None
            with contextlib.suppress(ChildProcessError):
                result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
                assert result is not None
                code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
            self._exit = (code,)
        return self._exit[0]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal; nothing happens when the process has ended."""
        if self._exit is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Lets go of the process, once."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _inheritable_from(first: int) -> list[int]:
    """Descriptors from ``first`` on that some library has left inheritable."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        fd = int(entry.name)
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            if fd >= first and os.get_inheritable(fd):
                found.append(fd)
    return found
