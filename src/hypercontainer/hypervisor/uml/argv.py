"""From a ``VMSpec`` to the command line of User Mode Linux: pure, and kept to the letter by golden tests.

The program opens nothing by a path: "@N" is the descriptor N that it was handed, in the order of ``plan_fds``.  See
guest/kernel/patches/um for what of this is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from hypercontainer.hypervisor.spec import DiskSpec, Nic, Tap, VMSpec

# The first descriptor that is the program's: 3 is the launcher's gate.
FIRST_FD = 4
# What the program is called where it runs.
PROGRAM = "/linux"
# The guest's end of the agent's pipes.
AGENT_DEVICE = "/dev/hyper-port"
VIRTIO_ID_FS = 26  # linux/virtio_ids.h
# Standard input leads nowhere, standard output is the console.  Without another word the root is the first disk, an
# image's, whose own init would be run where the initrd has none.
COMMON = ("con0=null:@0,fd:1", "console=tty0", "root=none")


class Mode(StrEnum):
    """By what the kernel hears of the calls of a guest's process; docs/uml.md weighs the two."""

    SECCOMP = "seccomp"
    PTRACE = "ptrace"

    @property
    def argument(self) -> str:
        return f"seccomp={'on' if self is Mode.SECCOMP else 'off'}"


@dataclass(frozen=True)
class FdPlan:
    """Which descriptor of the program is what; without gaps from ``FIRST_FD``, in the order of the fields."""

    agent_in: int
    agent_out: int
    control: int
    full: int
    initrd: int | None
    disks: tuple[tuple[int, ...], ...]
    nics: tuple[int, ...]
    shares: tuple[int, ...]


def plan_fds(spec: VMSpec) -> FdPlan:
    agent_in, agent_out, control, full = range(FIRST_FD, FIRST_FD + 4)
    following = full + 1
    initrd = None
    if spec.initrd is not None:
        initrd, following = following, following + 1
    disks = []
    for disk in spec.disks:
        disks.append(tuple(range(following, following + len(disk.extents))))
        following += len(disk.extents)
    nics = tuple(range(following, following + len(spec.nics)))
    following += len(spec.nics)
    shares = tuple(range(following, following + len(spec.shares)))
    return FdPlan(agent_in, agent_out, control, full, initrd, tuple(disks), nics, shares)


def uml_argv(spec: VMSpec, plan: FdPlan, mode: Mode) -> list[str]:
    """Of a specification that is checked."""
    argv = [
        PROGRAM,
        f"mem={spec.memory_mib}M",
        *COMMON,
        mode.argument,
        f"hyper_port=@{plan.agent_in},@{plan.agent_out}",
        f"hyper.port={AGENT_DEVICE}",
        f"mconsole=@{plan.control}",
    ]
    # Without it a write where the host is full fails.
    argv += [f"ubd_full=@{plan.full}"] if spec.waits_for_room else []
    argv += [f"initrd=@{plan.initrd}"] if plan.initrd is not None else []
    for number, (disk, fds) in enumerate(zip(spec.disks, plan.disks, strict=True)):
        argv.append(f"ubd{number}{ubd(disk, [f'@{fd}' for fd in fds])}")
    for number, (nic, fd) in enumerate(zip(spec.nics, plan.nics, strict=True)):
        argv.append(f"vec{number}{vec(nic, str(fd))}")
    for share, fd in zip(spec.shares, plan.shares, strict=True):
        argv.append(f"virtio_uml.device=@{fd}:{VIRTIO_ID_FS}:{share.tag}")
    return [*argv, *spec.kernel_args]


def ubd(disk: DiskSpec, files: Sequence[str]) -> str:
    """What follows a disk's number: its flags ("d": data, whatever a guest makes its first bytes look like), its files,
    each with how much of it is the disk's, and its serial."""
    parts = "+".join(f"{file}/{size}" for file, (_, size) in zip(files, disk.extents, strict=True))
    return f"{'r' if disk.read_only else ''}d={parts},,{disk.serial}"


def vec(nic: Nic, fd: str) -> str:
    """What follows a network interface's number: its descriptor, and of which kind it is."""
    return f":transport=fd,fd={fd}{',vnet=1' if isinstance(nic.backend, Tap) else ''},mac={nic.mac}"
