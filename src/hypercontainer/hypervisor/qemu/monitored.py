"""What is done with a QEMU by its monitor, whoever passes the commands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.process_vm import ProcessVM
from hypercontainer.hypervisor.qemu import disks, plugged_nics
from hypercontainer.hypervisor.qemu.qmp import Qmp
from hypercontainer.hypervisor.qemu.slots import Slots
from hypercontainer.hypervisor.qemu.stall import STOPPED, Stall
from hypercontainer.hypervisor.spec import DiskSpec, Nic
from hypercontainer.hypervisor.validate import plugged_tap, usable
from hypercontainer.linux.process import Process


class MonitoredVM(ProcessVM):
    """A part of ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self,
        record: VMRecord,
        process: Process,
        output: Output,
        serving: Sequence[Process],
        qmp: Qmp,
        slots: Slots,
        stall: Stall,
    ) -> None:
        """``slots`` and ``stall`` hear of every event."""
        super().__init__(record, process, output, serving)
        self._qmp, self._slots, self._stall = qmp, slots, stall
        stall.watch(qmp)

    def on_stall(self, told: Callable[[bool], None]) -> None:
        self._stall.tell(told)

    async def pause(self) -> None:
        self._stall.hold(True)
        await self._qmp.execute("stop")

    async def resume(self) -> None:
        self._stall.hold(False)
        if not self._stall.stands_still:
            await self._qmp.execute("cont")

    async def paused(self) -> bool:
        answer = await self._qmp.execute("query-status")
        status = answer.get("status") if isinstance(answer, Mapping) else None
        if not isinstance(status, str):
            raise HypervisorError(f"VM {self.record.id}: QEMU does not say whether it runs")
        if status == STOPPED:
            self._stall.found("a disk", "as another hyperd found it")
        return status not in ("running", STOPPED)

    async def attach_disk(self, disk: DiskSpec) -> None:
        with usable(disk):
            slots, waits = self.record.hotplug_slots, self.record.waits_for_room
            await disks.attach(self._qmp, self._slots, disk, slots, waits=waits)

    async def detach_disk(self, serial: str, *, timeout_s: float = 10.0) -> None:
        await disks.detach(self._qmp, self._slots, serial, timeout_s)

    async def grow_disk(self, serial: str, size_bytes: int) -> None:
        await disks.grow(self._qmp, serial, size_bytes)

    async def insert_disk(self, disk: DiskSpec) -> None:
        with usable(disk):
            await disks.insert(self._qmp, disk)

    async def eject_disk(self, serial: str) -> None:
        await disks.eject(self._qmp, serial)

    async def attach_nic(self, nic: Nic) -> None:
        tap = plugged_tap(nic)
        await plugged_nics.attach(self._qmp, self._slots, nic, tap, self.record.hotplug_slots)

    async def detach_nic(self, mac: str, *, timeout_s: float = 10.0) -> None:
        await plugged_nics.detach(self._qmp, self._slots, mac, timeout_s)
