"""The driver of vSphere behind the suite's harness: its API's half, on the simulator, which runs no guests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from pyVmomi import vim

from free_port import free_port
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.esx import inventory
from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.session import Session
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.spec import Accelerator, Existing, Nic
from hypercontainer.suite.harness import Harness
from simulated_vsphere import Simulator


class EsxHarness(Harness):
    accelerator = Accelerator.OWN
    lacks = frozenset({"letters", "process", "keeps", "locks", "resets", "read-only", "exact"})

    def __init__(
        self, simulator: Simulator, folder: Path, stack: AsyncExitStack, *, keeps_images: bool = False
    ) -> None:
        """``keeps_images``: for the next case."""
        self._simulator, self._keeps_images = simulator, keeps_images
        self._other = Session(take(simulator.settings))
        stack.callback(self._other.close)
        super().__init__(folder, stack)

    def recipe(self) -> Callable[[], EsxDriver]:
        """A later daemon has the same port, which the former one holds no more: here both are in one process."""
        settings = take(self._simulator.settings | {"line_port": free_port()})
        return partial(EsxDriver, "esx", settings, self.folder / "state", lost_s=0.3)

    def another_driver(self) -> Driver:
        driver = self.recipe()()
        self.stack.push_async_callback(driver.close)
        return driver

    async def begin(self) -> None:
        """Without what a case has left that failed."""
        await asyncio.to_thread(self._do, _cleared)
        await super().begin()

    def guest(self, letter: str) -> dict[str, Any]:
        for name in ("kernel", "initrd"):
            (self.folder / name).write_bytes(name.encode())
        return {"kernel": self.folder / "kernel", "initrd": self.folder / "initrd"}

    def nic(self, place: int = 0, *forwards: PortMapping) -> Nic:
        return Nic(f"02:00:00:12:34:{0x56 + place:02x}", Existing("VM Network"))

    @contextlib.asynccontextmanager
    async def foreign(self, name: str) -> AsyncIterator[None]:
        made = await asyncio.to_thread(self._do, lambda live: _made(live, name))
        try:
            yield
            found = await asyncio.to_thread(self._do, lambda live: made.runtime.powerState)
            assert found == "poweredOn"
        finally:
            await asyncio.to_thread(self._do, lambda live: _removed(live, made))

    async def crash(self, vm: VM) -> None:
        machines = await asyncio.to_thread(self._do, _machines)
        machine = machines[vm.record.name]
        await asyncio.to_thread(self._do, lambda live: live.finish(machine.PowerOffVM_Task()))

    async def leftovers(self) -> list[str]:
        """But for images."""
        session = Session(take(self._simulator.settings))
        try:
            machines = session.call("looking", _machines)
            for name, machine in machines.items():
                if name.startswith("hyper-image-") and not self._keeps_images:
                    session.call("removing", partial(_removed, machine=machine))
        finally:
            session.close()
        files = [name for name in self._simulator.files() if not name.startswith("hyper-image-")]
        return sorted({name for name in machines if name.startswith("contract-")} | set(files))

    def _do(self, work: Callable[[Any], Any]) -> Any:
        return self._other.call("doing", work)


def _machines(live: Any) -> dict[str, Any]:
    view = live.content.viewManager.CreateContainerView(live.content.rootFolder, [vim.VirtualMachine], True)
    return {each.name: each for each in view.view}


def _cleared(live: Any) -> None:
    for name, machine in _machines(live).items():
        if name.startswith("contract-"):
            _removed(live, machine)


def _made(live: Any, name: str) -> Any:
    place = inventory.place(live)
    files = vim.vm.FileInfo(vmPathName=f"[{place.datastore_name}]")
    config = vim.vm.ConfigSpec(name=name, guestId="otherGuest", files=files, memoryMB=4, numCPUs=1)
    machine = live.finish(place.folder.CreateVM_Task(config, place.pool, place.host))
    live.finish(machine.PowerOnVM_Task(None))
    return machine


def _removed(live: Any, machine: Any) -> None:
    with contextlib.suppress(HyperError, vim.fault.InvalidPowerState):
        live.finish(machine.PowerOffVM_Task())
    live.finish(machine.Destroy_Task())
