"""VMs on VMware's hypervisor, through vCenter or a host's own API.

What needs pyvmomi, which is an optional library, is in ``vsphere`` and below it, and imported when it is used.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypercontainer.contract.devices import VMWARE
from hypercontainer.errors import HyperError, NotSupported, Unavailable
from hypercontainer.hypervisor.driver import VM, Capabilities, Check, Lan, Verdict, VMRecord
from hypercontainer.hypervisor.esx.settings import Settings
from hypercontainer.hypervisor.launching import Launches
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import EXISTING, Accelerator, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.linux.architectures import AMD64

if TYPE_CHECKING:
    from hypercontainer.hypervisor.esx.vm import EsxVM
    from hypercontainer.hypervisor.esx.vsphere import VSphere

# Of the guest's: its first serial port is the console, its second the agent's line.
CONSOLE, LINE = "ttyS0", "serial:/dev/ttyS1"


class EsxDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64

    def __init__(self, name: str, settings: Settings, state: Path, *, lost_s: float | None = None) -> None:
        """``state``: a folder of its own; ``lost_s``: how long a VM may be missing before it is lost."""
        self.name = name
        self._settings = settings
        self._state = state
        self._lost_s = lost_s
        self._launches: Launches[EsxVM] = Launches()
        self._made: VSphere | None = None

    def check_installed(self) -> None:
        if importlib.util.find_spec("pyVmomi") is None:
            raise Unavailable(
                "the library for vSphere is not installed", hint="pip install hypercontainer[esx]"
            )

    @property
    def _sphere(self) -> VSphere:
        if self._made is None:
            self.check_installed()
            from hypercontainer.hypervisor.esx.vsphere import VSphere

            self._made = VSphere(self.name, self._settings, self._state, lost_s=self._lost_s)
        return self._made

    async def capabilities(self) -> Capabilities:
        self.check_installed()
        return Capabilities(
            self.name,
            "",
            frozenset({Accelerator.OWN}),
            plugs=False,
            devices=VMWARE,
            console=CONSOLE,
            line=LINE,
            nics=frozenset({EXISTING}),
            live_ports=False,
            grows=False,
            memory_step_mib=4,
            not_limited=("cpu",),
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        """Asks: nothing is booted on somebody's hosts to find out."""
        if accelerator is not Accelerator.OWN:
            return Verdict(accelerator, usable=False, reason=f"vSphere runs nothing by {accelerator.value}")
        try:
            return Verdict(accelerator, usable=True, reason=await self._sphere.introduced())
        except HyperError as error:
            return Verdict(accelerator, usable=False, reason=error.message)

    async def diagnose(self) -> list[Check]:
        try:
            sphere = self._sphere
        except Unavailable as error:
            return [Check("vSphere", False, error.message, error.hint or "")]
        return await sphere.diagnose()

    async def lan(self) -> Lan:
        lan = self._settings.lan
        if lan is None or not lan.network:
            raise Unavailable(
                f"no network is configured for pods in {self._settings.where}",
                hint=f"network, subnet and gateway in [hypervisor.{self.name}]",
            )
        await self._sphere.check_network(lan.network)
        return lan

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        """None: it is another machine's to limit."""
        return Limits()

    async def launch(self, spec: VMSpec) -> VM:
        check_spec(spec)
        return await self._launches.run(self._sphere.launch(spec), spec.id)

    async def fingerprint(self, spec: VMSpec) -> str:
        plain = replace(spec.as_seen(), id="", name="", run_dir=Path(), owner_uid=None, limits=None)
        return repr(plain)

    async def launch_to_save(self, spec: VMSpec) -> VM:
        raise _unsaved(spec)

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> VM:
        raise _unsaved(spec)

    async def adopt(self, record: VMRecord) -> VM | None:
        return await self._sphere.adopt(record)

    async def destroy(self, record: VMRecord) -> None:
        await self._sphere.destroy(record)

    async def close(self) -> None:
        """Logs out."""
        if self._made is not None:
            await self._made.close()


def _unsaved(spec: VMSpec) -> NotSupported:
    return NotSupported(f"VM {spec.name}: a VM of vSphere is neither saved nor cloned")
