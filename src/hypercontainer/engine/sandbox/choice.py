"""Which hypervisor a VM is given, with which kernel, and why.

Unless somebody says: KVM where a guest boots under it; else User Mode Linux, where its kernel runs and it can do what
the VM needs; else QEMU's emulation, which can do everything and takes its time.  A kernel that is named decides by what
it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from hypercontainer.engine.workers import Workers
from hypercontainer.errors import HyperError, InvalidArgument, Unavailable
from hypercontainer.hypervisor.driver import Accelerator, Driver, Verdict
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.kernel import Kernel, KernelStore

AUTO, QEMU, UML = "auto", "qemu", "uml"
HYPERVISORS = (QEMU, UML)
ACCELERATORS = (Accelerator.KVM.value, Accelerator.TCG.value)
BY_CONFIGURATION = "chosen by configuration"


@dataclass(frozen=True)
class Wish:
    """``hypervisor`` and ``accelerator`` may be ``AUTO``; ``kernel``: None, a path or a name; ``known_as``: by which
    whoever asks for it knows the path, where that is another."""

    hypervisor: str = AUTO
    accelerator: str = AUTO
    kernel: str | None = None
    known_as: str = ""


@dataclass(frozen=True)
class Chosen:
    driver: Driver
    kernel: Kernel
    accelerator: Accelerator
    reason: str


def check(hypervisor: str | None, accelerator: str | None) -> None:
    """InvalidArgument for what there is not, and for two that do not go together."""
    if hypervisor is not None and hypervisor not in HYPERVISORS:
        raise InvalidArgument(repr(hypervisor), field="hypervisor", takes=" or ".join(HYPERVISORS))
    if accelerator is not None and accelerator not in ACCELERATORS:
        raise InvalidArgument(repr(accelerator), field="accelerator", takes=" or ".join(ACCELERATORS))
    if hypervisor == UML and accelerator is not None:
        raise InvalidArgument(
            f"{accelerator} is QEMU's", field="accelerator", takes="none with hypervisor uml"
        )


async def choose_foreign(asked: Wish, drivers: Drivers, kernels: KernelStore, architecture: str) -> Chosen:
    """For a VM of another architecture than this machine's, for which nothing is configured: emulation is all there is.

    Raises what ``choose`` does.
    """
    driver = drivers.foreign(architecture)
    what = f"a VM for {architecture} is emulated here, by QEMU"
    if asked.hypervisor == UML:
        raise InvalidArgument(what, field="hypervisor", takes=QEMU)
    if asked.accelerator not in (AUTO, Accelerator.TCG.value):
        raise InvalidArgument(what, field="accelerator", takes=Accelerator.TCG.value)
    driver.check_installed()
    kernel = await _named(asked, kernels)
    if kernel is None:
        kernel = await _LOOKS.run(partial(kernels.default, architecture))
    _check_kernel(kernel, architecture)
    return Chosen(driver, kernel, Accelerator.TCG, what)


def _check_kernel(kernel: Kernel, architecture: str) -> None:
    if kernel.architecture != architecture:
        raise InvalidArgument(
            f"{kernel.name} is for {kernel.architecture}", field="kernel", takes=f"one for {architecture}"
        )


async def choose(
    asked: Wish, configured: Wish, drivers: Drivers, kernels: KernelStore, wants: Mapping[str, str]
) -> Chosen:
    """What is ``asked`` for this VM counts before what is ``configured`` for all that it can be of.  ``wants``: what
    the VM needs that not every driver has everywhere, by its field of ``Capabilities``, in words; empty for most.

    Raises what the driver, or the search for its kernel, raises where there is no other.
    """
    named = [await _named(wish, kernels) for wish in (asked, configured)]
    for wish, kernel in zip((asked, configured), named, strict=True):
        if wish.hypervisor == UML or (wish.hypervisor == AUTO and kernel is not None and kernel.program):
            found = await _kernel(kernel, named[1], program=True, kernels=kernels)
            return Chosen(drivers.named(UML), found, Accelerator.NATIVE, BY_CONFIGURATION)
        if wish.hypervisor == QEMU or wish.accelerator != AUTO or kernel is not None:
            found = await _kernel(kernel, named[1], program=False, kernels=kernels)
            accelerator = asked.accelerator if asked.accelerator != AUTO else configured.accelerator
            return await _on_qemu(accelerator, drivers, found)
    return await _best(drivers, kernels, wants)


_LOOKS = Workers("kernels", 4, waits=True)


async def _named(wish: Wish, kernels: KernelStore) -> Kernel | None:
    if wish.kernel is None:
        return None
    try:
        return await _LOOKS.run(partial(kernels.find, wish.kernel))
    except InvalidArgument as error:
        if wish.known_as:
            raise InvalidArgument(
                error.message.replace(wish.kernel, wish.known_as), hint=error.hint
            ) from error
        raise


async def _kernel(
    asked: Kernel | None, configured: Kernel | None, *, program: bool, kernels: KernelStore
) -> Kernel:
    """What is asked for, whatever it is, which the driver judges; else of the kind that is needed."""
    if asked is not None and asked is not configured:
        return asked
    if configured is not None and configured.program == program:
        return configured
    return await _LOOKS.run(kernels.program if program else kernels.default)


async def _on_qemu(accelerator: str, drivers: Drivers, kernel: Kernel) -> Chosen:
    qemu = drivers.default
    _check_kernel(kernel, qemu.architecture)
    if accelerator != AUTO:
        return Chosen(qemu, kernel, Accelerator(accelerator), BY_CONFIGURATION)
    verdict = await qemu.probe(Accelerator.KVM, kernel.path)
    if verdict.usable:
        return Chosen(qemu, kernel, Accelerator.KVM, verdict.reason)
    return Chosen(qemu, kernel, Accelerator.TCG, f"KVM is not usable: {verdict.reason}")


async def _best(drivers: Drivers, kernels: KernelStore, wants: Mapping[str, str]) -> Chosen:
    found: Chosen | None = None
    failure: HyperError | None = None
    try:
        found = await _on_qemu(AUTO, drivers, await _LOOKS.run(kernels.default))
    except HyperError as error:  # no QEMU, or nothing for it to boot
        failure = error
    if found is not None and found.accelerator is Accelerator.KVM:
        return found
    why_not_kvm = found.reason if found is not None else str(failure)
    native = await native_verdict(drivers, kernels)
    if not isinstance(native, Chosen):
        refused = native.reason
    elif lacking := await _lacking(native.driver, wants):
        refused = f"User Mode Linux has no {', no '.join(lacking)} here"
    else:
        return Chosen(native.driver, native.kernel, native.accelerator, why_not_kvm)
    if found is None:
        assert failure is not None
        message = f"QEMU: {failure.message}; {refused}"
        raise Unavailable(message, hint=failure.hint, remedies=failure.remedies) from failure
    return Chosen(found.driver, found.kernel, found.accelerator, f"{found.reason}; {refused}")


async def _lacking(driver: Driver, wants: Mapping[str, str]) -> list[str]:
    if not wants:
        return []
    has = await driver.capabilities()
    return [words for field, words in wants.items() if not getattr(has, field)]


async def native_verdict(drivers: Drivers, kernels: KernelStore) -> Chosen | Verdict:
    """What there is for User Mode Linux here, or why there is nothing."""
    try:
        driver, kernel = drivers.named(UML), await _LOOKS.run(kernels.program)
        verdict = await driver.probe(Accelerator.NATIVE, kernel.path)
    except HyperError as error:
        return Verdict(Accelerator.NATIVE, usable=False, reason=error.message)
    return Chosen(driver, kernel, Accelerator.NATIVE, verdict.reason) if verdict.usable else verdict
