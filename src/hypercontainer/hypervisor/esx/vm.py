"""One VM in vSphere, held by this process: what becomes of it is told by events, its serial ports come to us."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HyperError, HypervisorError, NotSupported
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.console import ConsoleRing
from hypercontainer.hypervisor.driver import ExitReason, VMExit, VMRecord, VMStats
from hypercontainer.hypervisor.esx import events, machines
from hypercontainer.hypervisor.esx.faults import Unreachable
from hypercontainer.hypervisor.esx.inventory import Machine
from hypercontainer.hypervisor.esx.lines import Service
from hypercontainer.hypervisor.esx.session import Live, Session
from hypercontainer.hypervisor.esx.watch import State
from hypercontainer.hypervisor.held_vm import HeldVM
from hypercontainer.hypervisor.line_pipe import LinePipe
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import DiskSpec, Nic
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.hypervisor.text import printable

log = logging.getLogger(__name__)


class Sphere(Protocol):
    """What a VM needs of the vSphere that it is in; ``vsphere`` has it."""

    session: Session

    async def with_machine(self, what: str, uuid: str, work: Callable[[Live, Machine], None]) -> bool:
        """False where there is none of ours any more."""

    def needed(self, live: Live, uuid: str) -> Any:
        """Blocks; ``Gone`` where it is not there any more."""

    async def state(self, record: VMRecord) -> State: ...

    async def why(self, record: VMRecord) -> tuple[ExitReason, str]:
        """It ended."""

    async def end(self, record: VMRecord) -> str:
        """Ends it, takes back what it has written, removes it; what went wrong with that, or "".  ``Unreachable``."""

    async def let_go(self, uuid: str, services: Sequence[Service]) -> None: ...


class EsxVM(HeldVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self, record: VMRecord, sphere: Sphere, ring: ConsoleRing, services: tuple[Service, Service]
    ) -> None:
        """``services``: console and agent; theirs and the ring's owner is the VM from now on."""
        super().__init__(record)
        self.uuid = record.foreign["uuid"]
        self._sphere = sphere
        self._ring = ring
        self._services = services
        self._state: State | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._killed = False
        self._line: LinePipe | None = None
        self._cpu = events.CpuTime()
        self._ending = Ending(record, self._supervise())

    @property
    def pid(self) -> int:
        return 0

    def told(self, state: State) -> None:
        """By the watch, in its thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note, state)

    def _note(self, state: State) -> None:
        self._state = state
        self._news.set()

    async def _reach_agent(self) -> Pair:
        self._check_held()
        await self._unline()
        self._line, reader, writer = await LinePipe.open(*await self._services[1].open())
        return reader, writer

    async def _unline(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.close()

    def on_stall(self, told: Callable[[bool], None]) -> None:
        """Nobody is told: of a full datastore vSphere asks its administrator, and the VM stands still until then."""

    async def pause(self) -> None:
        await self._do("pausing", machines.suspend)

    async def resume(self) -> None:
        await self._do("resuming", machines.start)

    async def _do(self, what: str, work: Callable[..., None]) -> None:
        self._check_held()
        sphere = self._sphere
        what = f"{what} VM {self.record.name}"
        if not await sphere.with_machine(what, self.uuid, lambda live, machine: work(live, machine)):
            raise HypervisorError(f"{what}: it is not there any more")

    async def paused(self) -> bool:
        self._check_held()
        try:
            return await self._sphere.state(self.record) is State.SUSPENDED
        except Unreachable:
            return self._state is State.SUSPENDED

    async def kill(self) -> VMExit:
        self._killed = not self._ending.over
        if self._killed:
            await self._sphere.with_machine(f"ending VM {self.record.name}", self.uuid, machines.power_off)
            self._note(State.OFF)
        return await self.wait()

    async def attach_disk(self, disk: DiskSpec) -> None:
        raise self._unplugged()

    async def detach_disk(self, serial: str, *, timeout_s: float = 10.0) -> None:
        raise self._unplugged()

    async def grow_disk(self, serial: str, size_bytes: int) -> None:
        raise NotSupported(f"VM {self.record.name}: a disk in vSphere grows while no VM has it")

    async def insert_disk(self, disk: DiskSpec) -> None:
        raise self._unplugged()

    async def eject_disk(self, serial: str) -> None:
        raise self._unplugged()

    async def attach_nic(self, nic: Nic) -> None:
        await self._do(
            "plugging a network interface into", lambda live, machine: machines.plug_nic(live, machine, nic)
        )

    async def detach_nic(self, mac: str, *, timeout_s: float = 10.0) -> None:
        await self._do(
            "unplugging a network interface of", lambda live, machine: machines.unplug_nic(live, machine, mac)
        )

    def _unplugged(self) -> NotSupported:
        return NotSupported(f"VM {self.record.name}: no disk is plugged into a VM of vSphere that runs")

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        raise self._unforwarded()

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        raise self._unforwarded()

    def _unforwarded(self) -> NotSupported:
        return NotSupported(
            f"VM {self.record.name}: no port leads to a VM of vSphere, which has an address in its network"
        )

    async def save(self) -> Snapshot:
        raise NotSupported(f"VM {self.record.name}: a VM of vSphere is not saved")

    def _console(self, max_bytes: int) -> str:
        return printable(self._ring.tail(max_bytes))

    async def stats(self) -> VMStats:
        self._check_held()
        sphere, what = self._sphere, f"VM {self.record.name}"
        used = await sphere.session.run(what, lambda live: events.usage(live, sphere.needed(live, self.uuid)))
        return VMStats(self._cpu.at(time.monotonic(), used.cpus, used.uptime_s), used.memory_bytes)

    async def close(self) -> None:
        await self._ending.let_go()
        await self._let_go()

    async def _let_go(self) -> None:
        self._agent.part()
        await self._unline()
        await self._sphere.let_go(self.uuid, self._services)
        self._ring.close()

    async def _supervise(self) -> VMExit:
        while self._state not in (State.OFF, State.LOST):
            self._news.clear()
            await self._news.wait()
        reason, said = await self._why()
        while True:
            self._news.clear()
            try:
                said += await self._sphere.end(self.record)
                break
            except Unreachable as error:
                log.warning(
                    "VM %s has ended, and is removed when that is possible: %s", self.record.name, error
                )
                await self._news.wait()  # the watch tells again once the server answers
        ended = VMExit(None, reason, said, printable(self._ring.tail()))
        await self._let_go()
        RunDir(self.record.run_dir).remove()
        return ended

    async def _why(self) -> tuple[ExitReason, str]:
        if self._killed:
            return ExitReason.HOST_KILL, ""
        if self._state is State.LOST:
            return (
                ExitReason.CRASH,
                "the VM is not in vSphere any more, and it was not this hyperd that removed it\n",
            )
        try:
            return await self._sphere.why(self.record)
        except HyperError as error:
            return ExitReason.UNKNOWN, f"why it ended is not known: {error}\n"
