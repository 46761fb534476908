"""Finds out by booting whether a kernel runs here under KVM in such a VM: a file in ``/dev`` says nothing about that.

It is given no initrd: it has come through all of its own start when it complains that it finds no root.  Without a
kernel a guest of a few bytes is booted, which says that it is there.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor import kvm, trial
from hypercontainer.hypervisor.boot_files import in_memory
from hypercontainer.hypervisor.driver import Verdict
from hypercontainer.hypervisor.programs import file_key
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.vmm import jail, probe_guest
from hypercontainer.hypervisor.vmm.program import Program
from hypercontainer.hypervisor.vmm.vmm import Vmm
from hypercontainer.linux.confine import Means, jail_argv
from hypercontainer.linux.process import boot_id

GUEST_TIMEOUT_S, KERNEL_TIMEOUT_S = 2.0, 5.0
MEMORY_MIB = 256
ARGUMENTS = "console=ttyS0 earlyprintk=ttyS0 panic=-1 reboot=k"


async def probe(vmm: Vmm, program: Program, means: Means, kernel: Path | None) -> Verdict:
    """Takes a tenth of a second for a quick answer, and the deadline for a hang."""
    start = time.monotonic()
    problem = kvm.device_problem() or kvm.access_problem() or await _trial(vmm, program, means, None)
    if problem is None and kernel is not None:
        problem = await _trial(vmm, program, means, kernel)
    took = time.monotonic() - start
    what = "the kernel booted" if kernel else "a probe guest booted"
    return Verdict(Accelerator.KVM, usable=problem is None, reason=problem or what, seconds=took)


def verdict_key(program: Program, kernel: Path | None) -> str:
    """Changes when anything does that a verdict depends on.  Raises ``OSError``."""
    parts = [program.key, file_key(kernel) if kernel is not None else "-"]
    return " ".join([*parts, os.uname().release, boot_id(), kvm.device_key()])


async def _trial(vmm: Vmm, program: Program, means: Means, kernel: Path | None) -> str | None:
    """Why it does not run, or None."""
    with contextlib.ExitStack() as fds:
        if kernel is None:
            image = in_memory("probe", fds, probe_guest.elf())
        else:
            image = _opened(kernel, fds)
        config = in_memory("config", fds)
        rights = jail.rights_of_program(program.files, vmm.devices, reopened=(image, config))
        argv = jail_argv(vmm.trial(program.path, image, config), rights, means, root=os.geteuid() == 0)
        until = trial.KERNEL_IS_UP if kernel else re.compile(re.escape(probe_guest.WORDS))
        timeout_s = KERNEL_TIMEOUT_S if kernel else GUEST_TIMEOUT_S
        outcome = await trial.run(argv, (image, config), timeout_s, until=until)
    if until.search(outcome.output):
        return None
    return outcome.describe(vmm.title, f"kernel {kernel.name}" if kernel else "a probe guest", timeout_s)


def _opened(kernel: Path, fds: contextlib.ExitStack) -> int:
    try:
        fd = os.open(kernel, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"cannot open kernel {kernel}: {error.strerror}") from error
    fds.callback(os.close, fd)
    return fd
