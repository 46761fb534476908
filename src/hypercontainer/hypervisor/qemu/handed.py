"""What a QEMU is handed when it starts: its descriptors, in the order of ``plan_fds``, and its command line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import shares
from hypercontainer.hypervisor.boot_files import open_for_all
from hypercontainer.hypervisor.extents import open_extents
from hypercontainer.hypervisor.qemu import pvh
from hypercontainer.hypervisor.qemu.argv import FIRST_FD, Role, plan_fds, qemu_argv
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.disks import open_descriptor
from hypercontainer.hypervisor.qemu.jail import PRIVATE_MEMORY, rights
from hypercontainer.hypervisor.qemu.machines import HEAD_BYTES
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.linux import unix
from hypercontainer.linux.confine import Means, Rights

# One heap: a thread's own would be a megabyte that it hardly uses.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True)
class Origin:
    """Where a VM begins: at boot, to be saved later, or where a saved one stopped."""

    role: Role
    memory_fd: int | None = None
    state_fd: int = -1


BOOT = Origin(Role.BOOT)


@dataclass(frozen=True)
class Programs:
    """What a VM runs on, and in; ``server`` serves directories of the host, None where it has none."""

    qemu: Binary
    means: Means
    server: shares.Server | None

    @property
    def shares(self) -> str:
        """The file system by which the guest mounts directories of the host."""
        return self.server.filesystem if self.server else ""


@dataclass(frozen=True)
class Command:
    """``inherited``: the descriptors of ``plan_fds``, in order, but for those of shares."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    inherited: tuple[int, ...]
    rights: Rights


def command(
    spec: VMSpec,
    programs: Programs,
    run: RunDir,
    origin: Origin,
    nics: Sequence[int],
    fds: contextlib.ExitStack,
) -> Command:
    """QEMU's; ``nics`` are the ends of its NICs, ``fds`` owns the other descriptors.

    Raises ``OSError`` and ``InvalidArgument``.
    """
    plan = plan_fds(spec, origin.role)
    inherited = [fds.enter_context(unix.listen(path)).fileno() for path in (run.qmp, run.agent, run.console)]
    if origin.role is Role.CLONE:
        inherited += [_clone_kernel(spec.kernel, fds)]
    else:
        inherited += [open_for_all(path, fds) for path in (spec.kernel, spec.initrd) if path is not None]
    machine = programs.qemu.machine
    head = os.pread(inherited[plan.kernel - FIRST_FD], HEAD_BYTES, 0)
    if origin.role is not Role.CLONE and not machine.is_kernel(head):
        raise InvalidArgument(f"{spec.kernel} is no kernel that QEMU can boot as {machine.architecture}")
    for disk, numbers in zip(spec.disks, plan.disks, strict=True):
        inherited += open_extents(disk, fds)
        if numbers.descriptor is not None:
            inherited.append(open_descriptor(disk, list(numbers.extents), fds))
    if origin.memory_fd is not None:
        inherited.append(origin.memory_fd)
    inherited += nics
    argv = qemu_argv(programs.qemu, spec, plan, origin.role, programs.shares)
    clone = origin.role is Role.CLONE
    environment = ENVIRONMENT | ({"LD_PRELOAD": str(PRIVATE_MEMORY)} if clone else {})
    needs = rights(programs.qemu, spec, plan, origin.role)
    return Command(tuple(argv), environment, tuple(inherited), needs)


def _clone_kernel(kernel: Path, fds: contextlib.ExitStack) -> int:
    """A clone has its kernel in memory; QEMU wants one named all the same, of the kind for which it has the same
    firmware.  An ELF file's can be small."""
    with kernel.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return open_for_all(kernel, fds)
    small = os.memfd_create("kernel", os.MFD_CLOEXEC)
    fds.callback(os.close, small)
    os.write(small, pvh.SMALLEST)
    return small
