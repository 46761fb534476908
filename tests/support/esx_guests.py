"""The driver of vSphere with guests: QEMU has the machines' hardware, which runs what the simulator only keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from esx_hands import Hands
from esx_harness import EsxHarness
from free_port import free_port
from hypercontainer.hypervisor.driver import VM, Driver, VMRecord
from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.suite.linux import LinuxHarness
from simulated_vsphere import Simulator


class EsxGuestHarness(EsxHarness, LinuxHarness):
    """PC BIOS, a disc, pvscsi, vmxnet3 and the 16550s, as a machine of ESX has them."""

    lacks = EsxHarness.lacks - {"letters"}
    patience = 3.0  # a BIOS, and a kernel that unpacks itself

    def __init__(self, simulator: Simulator, folder: Path, stack: AsyncExitStack) -> None:
        self._line_port = free_port()
        super().__init__(simulator, folder, stack)
        stack.enter_context(Hands(simulator, folder, folder / "state/line.pem"))

    def recipe(self) -> Callable[[], EsxDriver]:
        """A machine calls at the port that it was made with: a later daemon has the same."""
        settings = take(self._simulator.settings | {"line_port": self._line_port})
        return partial(EsxDriver, "esx", settings, self.folder / "state", lost_s=0.3)

    def another_driver(self) -> Driver:
        self._daemon = self.recipe()()
        self.stack.push_async_callback(self._daemon.close)
        return self._daemon

    async def taken_up(self, record: VMRecord) -> VM:
        """The former daemon is gone, and with it who holds the port."""
        await self._daemon.close()
        return await super().taken_up(record)

    def guest(self, letter: str) -> dict[str, Any]:
        return LinuxHarness.guest(self, letter)
