"""Finds out by booting whether a kernel runs here as a process, shut in as a VM's is.

It is given no initrd: it has come through all of its own start, the test of how it will run others' programs among it,
when it complains that it finds no root.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import trial
from hypercontainer.hypervisor.driver import Verdict
from hypercontainer.hypervisor.programs import file_key
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.uml import program
from hypercontainer.hypervisor.uml.argv import COMMON, PROGRAM, Mode
from hypercontainer.linux.confine import JAIL, Means, jail_argv
from hypercontainer.linux.process import surroundings

TIMEOUT_S = 10.0
_ARGUMENTS = (*COMMON, "mem=64M", "panic=-1")


async def probe(means: Means, kernel: Path, mode: Mode) -> Verdict:
    """Takes a tenth of a second for a quick answer, and the deadline for a hang."""
    start = time.monotonic()
    problem = await _problem(means, kernel, mode)
    took = time.monotonic() - start
    reason = problem or "the kernel booted as a process"
    return Verdict(Accelerator.NATIVE, usable=problem is None, reason=reason, seconds=took)


def verdict_key(kernel: Path, mode: Mode) -> str:
    """Changes when anything does that a verdict depends on.  Raises ``OSError``."""
    parts = [Accelerator.NATIVE.value, file_key(kernel), file_key(JAIL), os.uname().release, surroundings()]
    return " ".join([*parts, mode])


async def _problem(means: Means, kernel: Path, mode: Mode) -> str | None:
    """Why it does not run, or None."""
    try:
        program.check(kernel)
    except InvalidArgument as error:
        return error.message
    argv = jail_argv(
        [PROGRAM, *_ARGUMENTS, mode.argument],
        program.rights(kernel, None, mode),
        means,
        root=os.geteuid() == 0,
    )
    outcome = await trial.run(argv, (), TIMEOUT_S, until=trial.KERNEL_IS_UP)
    if trial.KERNEL_IS_UP.search(outcome.output):
        return None
    return outcome.describe("it", f"kernel {kernel.name}", TIMEOUT_S)
