"""What VMs have alike whose guest runs in a process of this machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.agent_port import AgentPort, Pair
from hypercontainer.hypervisor.console import CAPACITY_BYTES
from hypercontainer.hypervisor.driver import VMExit, VMRecord, VMStats
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.supervision import Ending, Processes
from hypercontainer.linux import process as processes
from hypercontainer.linux.process import Process


class ProcessVM(ABC):
    """A part of ``hypercontainer.hypervisor.driver.VM``.  Who is this sets ``_ending`` once all else of it is there."""

    _ending: Ending

    def __init__(
        self, record: VMRecord, process: Process, output: Output, serving: Sequence[Process] = ()
    ) -> None:
        """``serving`` are the record's helpers; it owns them, ``process`` and ``output``."""
        self.record = record
        self.output = output
        self._processes = Processes(record, process, serving)
        self._killed = False
        self._agent = AgentPort(self._reach_agent)

    @property
    def pid(self) -> int:
        return self.record.pid

    @abstractmethod
    async def _reach_agent(self) -> Pair:
        """As ``connect_agent``: a new connection."""

    def _check_held(self) -> None:
        if self._ending.over:
            raise HypervisorError(f"VM {self.record.id} has ended or is no longer held")

    async def connect_agent(self) -> Pair:
        return await self._agent.connect()

    def keep_agent(self, pair: Pair) -> None:
        self._agent.keep(pair)

    def console_tail(self, max_bytes: int = CAPACITY_BYTES) -> str:
        if (ended := self._ending.known) is not None:
            return ended.console[-max_bytes:]
        return self.output.console(max_bytes)

    async def stats(self) -> VMStats:
        return VMStats(processes.cpu_ns(self.pid), processes.resident_bytes(self.pid))

    async def wait(self) -> VMExit:
        return await self._ending.wait()

    async def kill(self) -> VMExit:
        self._killed = not (self._ending.over or self._processes.main.ended())
        self._processes.main.kill()
        return await self.wait()
