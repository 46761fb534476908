"""What VMs have alike whose guest runs in a process of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from hypercontainer.hypervisor.driver import VMExit, VMRecord, VMStats
from hypercontainer.hypervisor.held_vm import HeldVM
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.supervision import Processes
from hypercontainer.linux import process as processes
from hypercontainer.linux.process import Process


class ProcessVM(HeldVM):
    """A part of ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self, record: VMRecord, process: Process, output: Output, serving: Sequence[Process] = ()
    ) -> None:
        """``serving`` are the record's helpers; it owns them, ``process`` and ``output``."""
        super().__init__(record)
        self.output = output
        self._processes = Processes(record, process, serving)
        self._killed = False

    @property
    def pid(self) -> int:
        return self.record.pid

    def _console(self, max_bytes: int) -> str:
        return self.output.console(max_bytes)

    async def stats(self) -> VMStats:
        return VMStats(processes.cpu_ns(self.pid), processes.resident_bytes(self.pid))

    async def kill(self) -> VMExit:
        self._killed = not (self._ending.over or self._processes.main.ended())
        self._processes.main.kill()
        return await self.wait()
