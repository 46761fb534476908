"""Finds out by booting whether an accelerator runs guests: a file in ``/dev`` says nothing about that.

First the guest of ``probe_guest``, which takes milliseconds; it must end QEMU with the agreed exit status.  Then,
where one is given, the real kernel without an initrd: it has come through all of its own start when it complains
that it finds no root.  A hang, an abort, a reset and an error all mean "not usable" and become the reason.
QEMU runs here without privileges and behind its sandbox, as it does for a VM.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor import jail as confinement
from hypercontainer.hypervisor import kvm, trial
from hypercontainer.hypervisor.driver import Verdict
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.programs import file_key
from hypercontainer.hypervisor.qemu import jail, probe_guest
from hypercontainer.hypervisor.qemu.argv import common_argv, firmware_argv
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.trial import KERNEL_IS_UP, Outcome
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.confine import Means, jail_argv
from hypercontainer.linux.process import boot_id

GUEST_TIMEOUT_S = 2.0
KERNEL_TIMEOUT_S = {Accelerator.KVM: 5.0, Accelerator.HVF: 5.0, Accelerator.TCG: 60.0}
_KERNEL_ARGS = "console={0} earlyprintk={0} panic=-1 reboot=t"


# The probe guest is one for x86; another machine's QEMU can be seen to be there.
_SEEN = {True: "a probe guest booted", False: "it was built with it"}


async def probe(binary: Binary, means: Means, accelerator: Accelerator, kernel: Path | None) -> Verdict:
    """Takes a tenth of a second for a quick answer, and the deadlines for a hang."""
    start = time.monotonic()
    problem = await _problem(binary, means, accelerator, kernel)
    took = time.monotonic() - start
    if problem is None:
        what = "the kernel booted" if kernel else _SEEN[binary.architecture == AMD64]
        return Verdict(accelerator, usable=True, reason=what, seconds=took)
    return Verdict(accelerator, usable=False, reason=problem, seconds=took)


async def verdict(
    binary: Binary, cache: FactCache, accelerator: Accelerator, kernel: Path | None, *, refresh: bool
) -> Verdict:
    """As ``probe``, remembered.  Raises ``Unavailable`` for a kernel that cannot be read."""
    with trial.of_kernel(kernel):
        key = await asyncio.to_thread(verdict_key, binary, accelerator, kernel)

    async def ask() -> Verdict:
        return await probe(binary, await confinement.means(cache), accelerator, kernel)

    return await cache.learned(key, Verdict, ask, refresh=refresh)


def verdict_key(binary: Binary, accelerator: Accelerator, kernel: Path | None) -> str:
    """Changes when anything does that a verdict depends on.  Raises ``OSError``.

    The kernel is known by its path, size and time: to read it at every start would cost more than all else here.
    """
    parts = [
        accelerator.value,
        file_key(kernel) if kernel is not None else "-",
        binary.version,
        binary.key,
        os.uname().release,
        boot_id(),
        cpu_model(),
    ]
    if accelerator is Accelerator.KVM:
        parts.append(kvm.device_key())
    return " ".join(parts)


async def _problem(binary: Binary, means: Means, accelerator: Accelerator, kernel: Path | None) -> str | None:
    """Why the accelerator is not usable, or None."""
    if accelerator not in binary.accelerators:
        return f"{binary.path} was built without it"
    if accelerator is Accelerator.KVM:
        missing = kvm.device_problem()
        if missing is not None:
            return missing
    problem = None
    if binary.architecture == AMD64:
        problem = await _probe_guest_problem(binary, means, accelerator)
    if problem is None and accelerator is Accelerator.KVM:
        problem = kvm.access_problem()
    if problem is None and kernel is not None:
        problem = await _kernel_problem(binary, means, accelerator, kernel)
    return problem


async def _probe_guest_problem(binary: Binary, means: Means, accelerator: Accelerator) -> str | None:
    image = os.memfd_create("probe", os.MFD_CLOEXEC)
    try:
        os.write(image, probe_guest.rom())
        device = f"isa-debug-exit,iobase={probe_guest.EXIT_PORT:#x},iosize=1"
        arguments = ["-m", "16M", "-bios", f"/dev/fd/{image}", "-device", device]
        outcome = await _run(binary, means, accelerator, arguments, [image], GUEST_TIMEOUT_S, until=None)
    finally:
        os.close(image)
    if outcome.exit_code == probe_guest.EXIT_STATUS:
        return None
    return outcome.describe("QEMU", "a probe guest", GUEST_TIMEOUT_S)


async def _kernel_problem(binary: Binary, means: Means, accelerator: Accelerator, kernel: Path) -> str | None:
    timeout_s = KERNEL_TIMEOUT_S[accelerator]
    try:
        fd = os.open(kernel, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"cannot open kernel {kernel}: {error.strerror}") from error
    try:
        arguments = ["-m", "256M", *firmware_argv(binary), "-kernel", f"/dev/fd/{fd}"]
        arguments += ["-append", _KERNEL_ARGS.format(binary.machine.console), "-serial", "stdio"]
        outcome = await _run(binary, means, accelerator, arguments, [fd], timeout_s, until=KERNEL_IS_UP)
    finally:
        os.close(fd)
    if KERNEL_IS_UP.search(outcome.output):
        return None
    return outcome.describe("QEMU", f"kernel {kernel.name}", timeout_s)


async def _run(
    binary: Binary,
    means: Means,
    accelerator: Accelerator,
    arguments: Sequence[str],
    fds: Sequence[int],
    timeout_s: float,
    *,
    until: re.Pattern[bytes] | None,
) -> Outcome:
    """Runs QEMU, see ``trial.run``."""
    rights = jail.rights_of_program(binary, reopened=tuple(fds))
    if accelerator is Accelerator.KVM:
        rights = replace(rights, devices=(*rights.devices, (str(kvm.DEVICE), str(kvm.DEVICE))))
    argv = jail_argv([*common_argv(binary, accelerator), *arguments], rights, means, root=os.geteuid() == 0)
    return await trial.run(argv, fds, timeout_s, until=until)


def cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return "-"
