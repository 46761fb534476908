"""What an examination of the host says about such a hypervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.hypervisor import kvm
from hypercontainer.hypervisor.driver import Capabilities, Check, Verdict
from hypercontainer.hypervisor.spec import Accelerator


class Examined(Protocol):
    """What is looked at of a driver."""

    async def capabilities(self) -> Capabilities: ...
    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict: ...


async def diagnose(driver: Examined, title: str) -> list[Check]:
    """Where it is not installed that is no fault: QEMU does all that it does."""
    try:
        capabilities = await driver.capabilities()
    except Unavailable as error:
        return [Check(title, None, error.message, error.hint or "")]
    return [Check(title, True, f"version {capabilities.version}"), await _kvm(driver, title)]


async def _kvm(driver: Examined, title: str) -> Check:
    name = f"KVM for {title}"
    try:
        verdict = await driver.probe(Accelerator.KVM, refresh=True)
    except HyperError as error:
        return Check(name, None, str(error))
    if verdict.usable:
        return Check(name, True, f"{verdict.reason} in {verdict.seconds:.2f} s")
    missing = "enable virtualization in the firmware, or nested virtualization on the host; "
    remedy = "" if kvm.DEVICE.exists() else missing
    return Check(name, None, verdict.reason, f"{remedy}it runs guests by KVM alone: QEMU emulates")
