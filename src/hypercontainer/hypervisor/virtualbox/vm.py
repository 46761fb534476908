"""One running VM of VirtualBox, held by this process: a pidfd of its process, its log, the drain of its console.

VirtualBox's server knows the VM by its UUID and is asked by VBoxManage; that a VM pauses, ends or has no room, its log
tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Awaitable, Callable

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, LaunchError
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import VMExit, VMRecord
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.later import Later
from hypercontainer.hypervisor.launching import last_line
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainVM
from hypercontainer.hypervisor.process_vm import ProcessVM
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.hypervisor.virtualbox import forwards, machines, parsing
from hypercontainer.hypervisor.virtualbox.log import PAUSED, STUCK, Log
from hypercontainer.hypervisor.virtualbox.machines import UUID
from hypercontainer.hypervisor.virtualbox.manage import Manage, Refused
from hypercontainer.hypervisor.virtualbox.places import VirtualBoxRunDir
from hypercontainer.hypervisor.virtualbox.stall import Stall
from hypercontainer.linux import unix
from hypercontainer.linux.process import Process

# A process whose VM has ended has windows and devices to close.
ENDING_S = 20.0
# The port has one peer, and a new one is turned away until VirtualBox has noticed that the former is gone.
AGENT_S = 5.0
_TURNED_AWAY_S = 0.05

# From the bytes of the serial port to the agent's.
Line = Callable[[Pair], Awaitable[Pair]]

log = logging.getLogger(__name__)


class VirtualBoxVM(ProcessVM, PlainVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self, record: VMRecord, process: Process, output: Output, said: Log, manage: Manage, line: Line
    ) -> None:
        super().__init__(record, process, output)
        self._uuid = record.foreign[UUID]
        self._run = VirtualBoxRunDir(record.run_dir, record.id)
        self._log = said
        self._manage = manage
        self._line = line
        self._later = Later()
        self._stall = Stall(f"VM {record.name}", said, self._resume)
        self._ending = Ending(record, self._supervise())
        said.on_change(self._stall.look)

    async def _reach_agent(self) -> Pair:
        if self._processes.main.ended():
            raise self._died(await self.wait())
        if self._log.told.state == PAUSED:
            return await self._line(await self._later.connect(self._once_it_goes_on))
        try:
            async with asyncio.timeout(AGENT_S):
                wire = await self._wire()
            return await self._line(await asyncio.open_connection(sock=wire))
        except (OSError, TimeoutError) as error:
            if self._processes.main.ended():
                raise self._died(await self.wait()) from error
            why = getattr(error, "strerror", None) or "it has another peer"
            raise HypervisorError(f"VM {self.record.id}: cannot reach its agent port: {why}") from error

    async def _once_it_goes_on(self) -> socket.socket:
        """VirtualBox does not notice before that the former peer is gone."""
        await self._log.until(lambda: self._log.told.state != PAUSED)
        return await self._wire()

    async def _wire(self) -> socket.socket:
        """A connection that has not been turned away.  While others wait to be there is no room for one."""
        while True:
            try:
                wire = unix.connect(self._run.agent)
            except BlockingIOError:
                await asyncio.sleep(_TURNED_AWAY_S)
                continue
            poll = select.poll()
            poll.register(wire, select.POLLRDHUP)
            await asyncio.sleep(_TURNED_AWAY_S)
            if not poll.poll(0):
                return wire
            wire.close()

    def _died(self, ended: VMExit) -> LaunchError:
        """Before anybody spoke to it."""
        said = last_line(ended.stderr) or last_line(ended.console) or f"status {ended.exit_code}"
        return LaunchError(
            f"VM {self.record.name} did not start: {said}",
            exit_code=ended.exit_code,
            stderr=ended.stderr,
            console=ended.console,
        )

    def on_stall(self, told: Callable[[bool], None]) -> None:
        self._stall.tell(told)

    async def pause(self) -> None:
        self._check_held()
        self._stall.hold(True)
        await self._told_to("pause", "paused")

    async def resume(self) -> None:
        self._check_held()
        self._stall.hold(False)
        if not self._stall.stalled:
            await self._resume()

    async def _resume(self) -> None:
        await self._told_to("resume", "running")

    async def _told_to(self, verb: str, state: str) -> None:
        try:
            await self._manage.run("controlvm", self._uuid, verb)
        except Refused as error:
            if error.refusal.code != parsing.VM_STATE or await self._state() != state:
                raise

    async def _state(self) -> str:
        info = await self._manage.info(self._uuid)
        return (info or {}).get("VMState", "")

    async def paused(self) -> bool:
        return not self._stall.stalled and await self._state() == "paused"

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await forwards.add(self._manage, self.record, self._log, port, nic)

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await forwards.remove(self._manage, self.record, port, nic)

    async def close(self) -> None:
        await self._ending.let_go()
        await self._stall.close()
        await self._let_go()

    async def _let_go(self) -> None:
        self._agent.part()
        await self._later.close()
        self.output.close()
        self._log.close()
        self._processes.close()

    async def _supervise(self) -> VMExit:
        stuck = self._log.until(lambda: self._log.told.state == STUCK)
        lost = await self._processes.lost(stuck, self._broken, ENDING_S)
        code = await self._processes.ended()
        await self._stall.close()
        await self.output.finish()
        self._log.catch_up()
        said = self._log.told.ended
        ended = self._processes.exit(code, killed=self._killed, said=said, lost=lost, output=self.output)
        await self._let_go()
        with contextlib.suppress(HypervisorError):
            await self._forget()
        clean(self._run, self.record)
        return ended

    async def _forget(self) -> None:
        try:
            await machines.forget(self._manage, self.record)
        except HypervisorError as error:
            log.error("VM %s of VirtualBox is left over: %s", self._uuid, error)
            raise

    def _broken(self) -> str:
        return "VirtualBox cannot go on with its guest" if self._log.told.state == STUCK else ""
