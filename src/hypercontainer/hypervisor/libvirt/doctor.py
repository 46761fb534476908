"""What an examination of the host says about a libvirt, and the QEMU that it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hypercontainer.errors import HyperError
from hypercontainer.hypervisor import kvm
from hypercontainer.hypervisor.driver import Capabilities, Check, Verdict
from hypercontainer.hypervisor.libvirt.settings import Asked
from hypercontainer.hypervisor.spec import Accelerator


class Examined(Protocol):
    """What is looked at of a driver."""

    @property
    def name(self) -> str: ...

    asked: Asked

    async def capabilities(self) -> Capabilities: ...
    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict: ...


async def diagnose(driver: Examined) -> list[Check]:
    """A libvirt that is not there is a fact, and no fault: nobody needs it who has not asked for it."""
    name = f"libvirt ({driver.name})"
    try:
        able = await driver.capabilities()
    except HyperError as error:
        return [Check(name, None, error.message, error.hint or "")]
    checks = [Check(name, True, f"{driver.asked.uri}, version {able.version}"), _confinement(able)]
    if driver.asked.system and kvm.DEVICE.exists() and (closed := kvm.access_problem()):
        # Whoever may not use what its daemon may: libvirt then asks QEMU what it can at each start.
        checks.append(Check(f"{name}: starts", None, f"they may take seconds: {closed}"))
    for accelerator in (Accelerator.TCG, Accelerator.KVM):
        verdict = await driver.probe(accelerator, refresh=True)
        fine = True if verdict.usable else None
        checks.append(Check(f"{name}: {accelerator.value}", fine, verdict.reason))
    return checks


def _confinement(able: Capabilities) -> Check:
    name = f"confinement by {able.name}"
    if able.confinement:
        return Check(name, True, ", ".join(able.confinement))
    return Check(
        name,
        None,
        "libvirt shuts its QEMUs in by nothing but their user's rights",
        "security_driver of qemu.conf",
    )
