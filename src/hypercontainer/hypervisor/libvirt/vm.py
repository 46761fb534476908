"""One running domain, held by this process: a pidfd of its QEMU, libvirt's word for it, and the drain of its console.

The pidfd says that it has ended, and libvirt why: a libvirtd that is gone or hangs costs the reason and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, NotSupported
from hypercontainer.hypervisor import nics
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import ExitReason, VMExit, VMRecord
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.libvirt.link import STOPPED, Link
from hypercontainer.hypervisor.libvirt.monitor import Monitor
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.qemu.machines import PCI
from hypercontainer.hypervisor.qemu.monitored import MonitoredVM
from hypercontainer.hypervisor.qemu.qmp import Event
from hypercontainer.hypervisor.qemu.slots import Slots
from hypercontainer.hypervisor.qemu.stall import Stall
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.linux import unix
from hypercontainer.linux.process import Process

# What libvirt may take to see that a QEMU has ended, and to end one whose guest has.
SEEN_S, DYING_S = 10.0, 5.0
REACHED_S = 10.0
_GUESTS = {
    "guest-shutdown": ExitReason.GUEST_SHUTDOWN,
    "guest-reset": ExitReason.GUEST_RESET,
    "guest-panic": ExitReason.GUEST_RESET,
    "subsystem-reset": ExitReason.GUEST_RESET,
}
DESTROYED = 1  # VIR_DOMAIN_EVENT_STOPPED_DESTROYED


async def reached(path: Path) -> socket.socket:
    """A connection to a socket of a QEMU: libvirt's let one wait, and the former peer may not be gone yet for QEMU.
    Raises ``OSError``."""
    return await asyncio.to_thread(unix.connect_waiting, path, REACHED_S)


class Watch:
    """What is heard of a domain."""

    def __init__(self, link: Link[Any], monitor: Monitor, name: str) -> None:
        self.slots = Slots(PCI)
        self.stall = Stall(f"VM {name}")
        self.said: ExitReason | None = None
        self.by_others = ""
        self.ending = asyncio.Event()  # QEMU is about to end
        self.seen = asyncio.Event()  # libvirt has seen its end
        self._link, self._uuid = link, monitor.uuid
        link.watch(monitor.uuid, self.on_event)

    def on_event(self, event: Event) -> None:
        if event.name == STOPPED:
            self._stopped(destroyed=event.data.get("detail") == DESTROYED)
        elif event.name == "SHUTDOWN" and not self.ending.is_set():  # what follows is libvirt's doing
            self.said = _GUESTS.get(str(event.data.get("reason")))
            self.ending.set()
        self.stall.on_event(event)
        self.slots.on_event(event)

    def _stopped(self, *, destroyed: bool) -> None:
        if self.said is None:
            self.said = ExitReason.CRASH
            if destroyed:
                self.by_others = "somebody else who manages this libvirt destroyed it\n"
        self.seen.set()

    async def close(self) -> None:
        self._link.leave(self._uuid)
        await self.stall.close()


class LibvirtVM(MonitoredVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self,
        record: VMRecord,
        link: Link[Any],
        process: Process,
        helpers: Sequence[Process],
        output: Output,
        resolver: Resolver,
    ) -> None:
        """``process`` is its QEMU, ``helpers`` are the record's; it owns both, and ``output``."""
        self._monitor = Monitor(link, record.foreign["uuid"])
        self._watch = Watch(link, self._monitor, record.name)
        super().__init__(
            record, process, output, helpers, self._monitor, self._watch.slots, self._watch.stall
        )
        self._link = link
        self._run = RunDir(record.run_dir)
        self._resolver = resolver
        resolver.follow(self._run)
        self._ending = Ending(record, self._supervise())

    async def _reach_agent(self) -> Pair:
        try:
            return await asyncio.open_unix_connection(sock=await reached(self._run.agent))
        except OSError as error:
            raise HypervisorError(
                f"VM {self.record.id}: cannot reach its agent port: {error.strerror}"
            ) from error

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.add_forward(self._run, port, nic)

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.remove_forward(self._run, port, nic)

    async def save(self) -> Snapshot:
        raise NotSupported(f"VM {self.record.name}: libvirt's are not saved")

    async def kill(self) -> VMExit:
        """QEMU itself is ended: libvirt would ask it to, and look five times a second whether it has."""
        self._killed = not (self._ending.over or self._watch.ending.is_set() or self._processes.main.ended())
        self._processes.main.kill()
        return await self.wait()

    async def close(self) -> None:
        await self._ending.let_go()
        await self._let_go()

    async def _let_go(self) -> None:
        self._agent.part()
        await self._watch.close()
        self._monitor.close()
        self._resolver.leave(self._run)
        self.output.close()
        self._processes.close()

    async def _supervise(self) -> VMExit:
        lost = await self._processes.lost(self._watch.ending.wait(), patience_s=DYING_S)
        await self._processes.ended()
        await self.output.finish()
        if self._link.up:  # then libvirt sees it too, and its name is free
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SEEN_S):
                    await self._watch.seen.wait()
        ended = self._exit(lost)
        await self._let_go()
        clean(self._run, self.record)
        return ended

    def _exit(self, lost: str) -> VMExit:
        """Its status nobody knows but libvirt, which has ended it: so it is what such an end's is."""
        said = self._watch.said
        gone = "" if said not in (None, ExitReason.CRASH) else lost
        ended = self._processes.exit(None, killed=self._killed, said=said, lost=gone, output=self.output)
        if ended.reason is ExitReason.HOST_KILL:
            return replace(ended, exit_code=-signal.SIGKILL)
        if ended.reason in _GUESTS.values():
            return replace(ended, exit_code=0)
        return replace(ended, stderr=ended.stderr + self._watch.by_others)
