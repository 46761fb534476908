"""What VMs have alike that this process holds, whatever runs them: one end, one agent port, a console."""

from __future__ import annotations

from abc import ABC, abstractmethod

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.agent_port import AgentPort, Pair
from hypercontainer.hypervisor.console import CAPACITY_BYTES
from hypercontainer.hypervisor.driver import VMExit, VMRecord
from hypercontainer.hypervisor.supervision import Ending


class HeldVM(ABC):
    """A part of ``hypercontainer.hypervisor.driver.VM``.  Who is this sets ``_ending`` once all else of it is there."""

    _ending: Ending

    def __init__(self, record: VMRecord) -> None:
        self.record = record
        self._agent = AgentPort(self._reach_agent)

    @abstractmethod
    async def _reach_agent(self) -> Pair:
        """As ``connect_agent``: a new connection."""

    @abstractmethod
    def _console(self, max_bytes: int) -> str:
        """What the guest has said last, while it runs."""

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
        return self._console(max_bytes)

    async def wait(self) -> VMExit:
        return await self._ending.wait()
