"""Command lines that shut a program in before it runs.

``jail_argv`` runs ``native/jail.c``, which becomes the program in one step; ``gated`` holds back any other program.
Both wait at a gate, descriptor 3, until their parent has put them in a cgroup and written down that they exist.  The
end of the gate without a word - the parent died - ends them, so no process is ever running unrecorded.

A program in a PID namespace is a process that the launcher makes: a child of ours like the launcher itself, which ends
once it has told us the pid (``entered``).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hypercontainer
from hypercontainer.linux.process import Process
from hypercontainer.linux.seccomp import ENOSYS, Arg, Op, Rule
from hypercontainer.linux.waiting import ended

GATE_FD, GATE_OPEN = 3, b"go\n"
JAIL = Path(hypercontainer.__file__).parent / "_native" / "jail"

# `exec 3<&-` keeps the gate from the program.  Exit status 125: never got as far as the program.
# The script is constant and its arguments are positional: nothing is ever pasted into shell text.
_SCRIPT = (
    'read -r word <&3 && [ "$word" = go ] || exit 125; exec 3<&-; ulimit -c 0; umask 077; '
    'cd "$1" || exit 125; shift; unset PWD OLDPWD; exec "$@"'
)
_PID_BYTES = 32
# Calls that reach other processes, and those of root, which are nothing for whoever serves a guest.
OUTWARD = tuple(
    "tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_send_signal pidfd_getfd ptrace process_vm_readv "
    "process_vm_writev process_madvise kcmp".split()
)
PRIVILEGED = tuple(
    "mount umount2 pivot_root move_mount open_tree fsopen fsmount fspick fsconfig mount_setattr setns "
    "open_by_handle_at bpf perf_event_open add_key request_key keyctl userfaultfd io_uring_setup init_module "
    "finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct settimeofday clock_settime "
    "adjtimex clock_adjtime".split()
)
_CLONE_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)


@dataclass(frozen=True)
class Means:
    """What the kernel lets this process use to shut another in.

    ``namespaces``: of its own, with a root that has nothing but what it needs; ``landlock`` is the version of its
    interface, 0 without.  ``reason``: why there are no namespaces.
    """

    namespaces: bool
    landlock: int
    reason: str = ""


@dataclass(frozen=True)
class Rights:
    """What a program in the jail has.  ``files`` it may read and run; ``devices`` read and write.

    ``disks`` are files that it may write to as well, and ``images`` such as it may only read: root's are there as if
    they were ``uid``'s.  In the directories ``sockets`` it may make sockets.
    All these, and ``links`` (where they lead, and their names), are there under the second name.  ``reopened`` are
    descriptors whose files it may open again.  ``uid``, ``groups`` and ``low_ports``, the right to bind ports below
    1024, mean something to root alone.  ``filter`` is a program for seccomp.  ``children``: it starts some, to whom it
    may send signals; in a PID namespace it can have no others.  ``fixed_layout``: its addresses are not random.
    """

    files: tuple[tuple[str, str], ...] = ()
    devices: tuple[tuple[str, str], ...] = ()
    disks: tuple[tuple[str, str], ...] = ()
    images: tuple[tuple[str, str], ...] = ()
    sockets: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    reopened: tuple[int, ...] = ()
    network: bool = True
    uid: int | None = None
    groups: tuple[int, ...] = ()
    low_ports: bool = False
    filter: bytes = b""
    children: bool = False
    fixed_layout: bool = False


def jail_argv(
    argv: Sequence[str], rights: Rights, means: Means, *, root: bool, gate: int | None = None
) -> list[str]:
    """``argv`` with ``rights`` and no more; ``root``: this process is.

    With a ``gate``, a socket, it waits there, and where it can it has a PID namespace, for which see ``entered``.
    """
    jail = [str(JAIL)]
    if gate is not None:
        jail += ["gate", str(gate), *(["pids"] if means.namespaces else [])]
    if means.namespaces:
        jail += ["root", *([] if root else ["user"]), *([] if rights.network else ["network"])]
    for word, pairs in (
        *(("file", rights.files), ("device", rights.devices), ("disk", rights.disks)),
        *(("image", rights.images), ("sockets", rights.sockets), ("link", rights.links)),
    ):
        for pair in pairs:
            jail += [word, *pair]
    jail += ["children"] if rights.children else []
    jail += ["fixed-layout"] if rights.fixed_layout else []
    for fd in rights.reopened:
        jail += ["reopen", str(fd)]
    if means.landlock:
        jail.append("landlock")
    if root:
        jail += ["uid", str(rights.uid)] if rights.uid is not None else []
        jail += ["groups", ",".join(map(str, rights.groups))] if rights.groups else []
        jail += ["low-ports"] if rights.low_ports else []
    if rights.filter:
        jail += ["filter", rights.filter.hex()]
    return [*jail, *(["--", *argv] if argv else [])]


async def entered(launcher: Process, gate: socket.socket) -> Process:
    """The process that waits at the gate, of a jail that makes one; ours, however often who waits is cancelled.

    Raises ``ChildProcessError`` where there is none; the launcher has said why on its standard error.
    """
    finding = asyncio.create_task(_found(launcher, gate))
    try:
        process = await asyncio.shield(finding)
    except asyncio.CancelledError:
        await ended(asyncio.create_task(_unwanted(finding)))
        raise
    if process is None:
        raise ChildProcessError("the jail has made no process")
    return process


async def _unwanted(finding: asyncio.Task[Process | None]) -> None:
    if process := await finding:
        process.kill()
        await process.wait()
        process.close()


async def _found(launcher: Process, gate: socket.socket) -> Process | None:
    code = await launcher.wait()
    launcher.close()
    said = b"" if code else gate.recv(_PID_BYTES, socket.MSG_DONTWAIT)
    return Process.child(int(said)) if said else None


def new_namespaces(refused: int) -> list[Rule]:
    """Rules for a filter that lets nobody clone into them."""
    rules = [Rule(("clone",), refused, (Arg(0, Op.MASKED_EQ, bit, bit),)) for bit in _CLONE_NAMESPACES]
    # What it is asked for lies in memory, where a filter cannot read it; programs fall back to the older call.
    return [*rules, Rule(("clone3",), ENOSYS)]


def gated(directory: Path, argv: Sequence[str]) -> list[str]:
    """``argv`` behind the gate, with ``directory`` as its working directory."""
    return ["/bin/sh", "-c", _SCRIPT, "hyper-launch", str(directory), *argv]


def unprivileged_port_start() -> int:
    """The first port that anybody may bind (``net.ipv4.ip_unprivileged_port_start``, ip-sysctl)."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024
