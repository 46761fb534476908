"""Which hypervisor a VM is given, with which kernel, and why.

Unless somebody says: KVM where a guest boots under it; else User Mode Linux, where its kernel runs and it can do what
the VM needs; else QEMU's emulation, which can do everything and takes its time.  A kernel that is named decides by what
it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from hypercontainer.contract.devices import UML as OF_UML
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import HyperError, InvalidArgument, Unavailable
from hypercontainer.hypervisor import kinds
from hypercontainer.hypervisor.driver import Driver, Verdict
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.spec import HARDWARE, Accelerator
from hypercontainer.kernel import Kernel, KernelStore

AUTO, QEMU, UML = "auto", "qemu", "uml"
# By which a driver runs guests where nobody says: the first that it has and that works here.
_PREFERRED = (Accelerator.KVM, Accelerator.HVF, Accelerator.OWN, Accelerator.NATIVE, Accelerator.TCG)
_NAMED = (Accelerator.KVM, Accelerator.HVF, Accelerator.TCG)
ACCELERATORS = tuple(accelerator.value for accelerator in _NAMED)
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


def check(hypervisor: str | None, accelerator: str | None, drivers: Drivers) -> None:
    """InvalidArgument for what there is not, and for two that do not go together."""
    usual = [driver.name for driver in drivers.usual()]
    if hypervisor in kinds.OURS and hypervisor not in usual:
        table = f"[hypervisor.{hypervisor}] in hyperd's configuration says it (docs/{hypervisor}.md)"
        raise Unavailable(f"the driver {hypervisor} is to be told where its hypervisor is", hint=table)
    if hypervisor is not None and hypervisor not in usual:
        raise InvalidArgument(repr(hypervisor[:64]), field="hypervisor", takes=" or ".join(usual))
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
    if asked.hypervisor not in (AUTO, QEMU):
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
        name = wish.hypervisor
        if name == AUTO and kernel is not None:
            name = UML if kernel.program else QEMU
        if name == AUTO and wish.accelerator != AUTO:
            name = QEMU
        if name != AUTO:
            accelerator = asked.accelerator if asked.accelerator != AUTO else configured.accelerator
            driver = drivers.default if name == QEMU else drivers.named(name)
            return await _on(driver, accelerator, await _kernel(kernel, named[1], driver, kernels))
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
    asked: Kernel | None, configured: Kernel | None, driver: Driver, kernels: KernelStore
) -> Kernel:
    """What is asked for, whatever it is, which the driver judges; else of the kind that is needed."""
    if asked is not None and asked is not configured:
        return asked
    devices = (await driver.capabilities()).devices
    if configured is not None and configured.program == (devices == OF_UML) and configured.has(devices):
        return configured
    return await _LOOKS.run(partial(kernels.having, devices))


async def _on(driver: Driver, accelerator: str, kernel: Kernel) -> Chosen:
    """A driver that is named.  Of an accelerator that is not said, each that it has is tried, the quickest first."""
    _check_kernel(kernel, driver.architecture)
    there = (await driver.capabilities()).accelerators
    if accelerator != AUTO:
        wish = Accelerator(accelerator)
        if wish not in there and driver.name != QEMU:  # whose own words say more
            takes = " or ".join(sorted(each.value for each in there if each.value in ACCELERATORS))
            what = f"{driver.name} runs nothing by {accelerator}"
            raise InvalidArgument(
                what, field="accelerator", takes=takes or f"none with hypervisor {driver.name}"
            )
        return Chosen(driver, kernel, wish, BY_CONFIGURATION)
    *quicker, last = [each for each in _PREFERRED if each in there]
    refused = []
    for each in quicker:
        verdict = await driver.probe(each, kernel.path)
        if verdict.usable:
            return Chosen(driver, kernel, each, verdict.reason)
        refused.append(f"{each.value.upper()} is not usable: {verdict.reason}")
    return Chosen(driver, kernel, last, "; ".join(refused) or BY_CONFIGURATION)


async def _best(drivers: Drivers, kernels: KernelStore, wants: Mapping[str, str]) -> Chosen:
    found: Chosen | None = None
    failure: HyperError | None = None
    try:
        found = await _on(drivers.default, AUTO, await _LOOKS.run(kernels.default))
    except HyperError as error:  # no QEMU, or nothing for it to boot
        failure = error
    if found is not None and found.accelerator in HARDWARE:
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
