"""One running QEMU, held by this process: a pidfd, a control connection, and the drain of its console.

A supervising task waits for the process to end, gathers why, removes what is left, and resolves ``wait`` for
everybody.  ``close`` ends the task without ending the VM.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from functools import partial

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor import nics
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import ExitReason, VMExit, VMRecord
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.output import DRAIN_TIMEOUT_S, Output
from hypercontainer.hypervisor.qemu.machines import Bus
from hypercontainer.hypervisor.qemu.monitored import MonitoredVM
from hypercontainer.hypervisor.qemu.qmp import Event, QmpClient, QmpState
from hypercontainer.hypervisor.qemu.saving import Migration
from hypercontainer.hypervisor.qemu.slots import Slots
from hypercontainer.hypervisor.qemu.stall import Stall
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot, memory_file, sealed_copy
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.linux import unix
from hypercontainer.linux.process import Process

_SHUTDOWN_REASONS = {
    "guest-shutdown": ExitReason.GUEST_SHUTDOWN,
    "guest-reset": ExitReason.GUEST_RESET,
    "guest-panic": ExitReason.GUEST_RESET,
    "subsystem-reset": ExitReason.GUEST_RESET,
    "host-qmp-quit": ExitReason.HOST_KILL,
    "host-signal": ExitReason.HOST_KILL,
}


log = logging.getLogger(__name__)


class Watch:
    """What a QEMU has said so far: its events, its console, its standard error.

    Made before QEMU runs, so that nothing is missed.
    """

    def __init__(self, run: RunDir, resolver: Resolver, bus: Bus, *, new: bool) -> None:
        self.slots = Slots(bus)
        self.migration = Migration()
        self.stall = Stall(f"the VM in {run.path}")
        self.shutdown: ExitReason | None = None
        self._directory = run.path
        self._disk_failed = False
        self.output = Output(run, unix.connect(run.console).detach(), new=new)
        resolver.follow(run)
        self._leave = partial(resolver.leave, run)

    def on_event(self, event: Event) -> None:
        if event.name == "SHUTDOWN":
            self.shutdown = _SHUTDOWN_REASONS.get(str(event.data.get("reason")), ExitReason.CRASH)
        elif event.name == "BLOCK_IO_ERROR" and event.data.get("action") != "stop" and not self._disk_failed:
            self._disk_failed = True  # once; a guest may write on and on
            log.warning(
                "VM in %s: %s: %s", self._directory, event.data.get("node-name"), event.data.get("reason")
            )
        self.stall.on_event(event)
        self.slots.on_event(event)
        self.migration.on_event(event)

    async def close(self) -> None:
        await self.stall.close()
        self._leave()
        self.output.close()


class QemuVM(MonitoredVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self,
        record: VMRecord,
        process: Process,
        watch: Watch,
        qmp: QmpClient,
        helpers: Sequence[Process] = (),
    ) -> None:
        """``helpers`` are the record's."""
        super().__init__(record, process, watch.output, helpers, qmp, watch.slots, watch.stall)
        self._watch = watch
        self._control = qmp
        self._run = RunDir(record.run_dir)
        self._memory_fd: int | None = None  # of one that is to be saved
        self._ending = Ending(record, self._supervise())

    @classmethod
    def to_save(
        cls,
        record: VMRecord,
        process: Process,
        watch: Watch,
        qmp: QmpClient,
        helpers: Sequence[Process],
        memory_fd: int,
    ) -> QemuVM:
        """One whose memory is in this file, which it owns from now on."""
        vm = cls(record, process, watch, qmp, helpers)
        vm._memory_fd = memory_fd
        return vm

    async def load(self, state_fd: int) -> None:
        """Becomes the VM that was saved; paused.

        That had a host at its agent port, and a guest is told, at a price, when it loses one: so connect first.
        """
        self._agent.keep(await self._agent.connect())
        await self._watch.migration.load(self._control, state_fd)

    async def save(self) -> Snapshot:
        if self._memory_fd is None:
            raise HypervisorError(f"VM {self.record.id} was not launched to be saved")
        state_fd = memory_file("state")
        try:
            await self._watch.migration.save(self._control, state_fd)
            memory_fd = os.dup(self._memory_fd)
        except BaseException:
            os.close(state_fd)
            raise
        try:
            await self.kill()
            return await asyncio.to_thread(sealed_copy, memory_fd, state_fd)
        finally:
            os.close(state_fd)
            os.close(memory_fd)

    async def _reach_agent(self) -> Pair:
        try:
            return await asyncio.open_unix_connection(sock=unix.connect(self._run.agent))
        except OSError as error:
            raise HypervisorError(
                f"VM {self.record.id}: cannot reach its agent port: {error.strerror}"
            ) from error

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.add_forward(self._run, port, nic)

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.remove_forward(self._run, port, nic)

    async def kill(self) -> VMExit:
        if self._control.state is QmpState.CLOSED:  # it is ending by itself, and is to say how
            await self._ending.wait_for(DRAIN_TIMEOUT_S)
        self._killed = not self._ending.over
        self._processes.main.kill()
        return await self.wait()

    async def close(self) -> None:
        await self._ending.let_go()
        await self._let_go()

    async def _let_go(self) -> None:
        if self._memory_fd is not None:
            os.close(self._memory_fd)
            self._memory_fd = None
        self._agent.part()
        await self._control.close()
        await self._watch.close()
        self._processes.close()

    async def _supervise(self) -> VMExit:
        lost = await self._processes.lost(
            self._control.wait_closed(), lambda: self._control.broken, patience_s=DRAIN_TIMEOUT_S
        )
        code = await self._processes.ended()
        await self.output.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._control.wait_closed()
        ended = self._processes.exit(
            code, killed=self._killed, said=self._watch.shutdown, lost=lost, output=self.output
        )
        await self._let_go()
        clean(self._run, self.record)
        return ended
