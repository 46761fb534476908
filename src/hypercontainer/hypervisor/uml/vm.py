"""One running User Mode Linux, held by this process: a pidfd, its pipes, the drain of its console.

Its process is the guest's kernel; the guest's own processes are children of it.  A supervising task waits for its end,
gathers why, removes what is left, and resolves ``wait`` for everybody.  ``close`` ends the task without ending the VM.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, LaunchError, NotSupported
from hypercontainer.hypervisor import helpers, nics, shares
from hypercontainer.hypervisor.console import CAPACITY_BYTES
from hypercontainer.hypervisor.driver import DiskSpec, ExitReason, Nic, VMExit, VMRecord, VMStats
from hypercontainer.hypervisor.ending import clean, exit_reason
from hypercontainer.hypervisor.launching import last_line
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.uml import pipes
from hypercontainer.hypervisor.uml.disks import Plugs, Units
from hypercontainer.hypervisor.uml.places import UmlRunDir
from hypercontainer.hypervisor.uml.plugged_nics import PluggedNics
from hypercontainer.hypervisor.uml.stall import Stall
from hypercontainer.hypervisor.validate import plugged_tap, usable
from hypercontainer.linux import process as processes
from hypercontainer.linux.cgroup import Cgroup
from hypercontainer.linux.process import Process

# The kernel's exit status after a reboot and a panic (guest/kernel/patches/um).
RESET_STATUS = 3
_ENDINGS = {0: ExitReason.GUEST_SHUTDOWN, RESET_STATUS: ExitReason.GUEST_RESET}


class UmlVM:
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self,
        record: VMRecord,
        process: Process,
        output: Output,
        resolver: Resolver,
        serving: Sequence[Process] = (),
    ) -> None:
        """``serving`` are the record's helpers."""
        self.record = record
        self._process = process
        self._serving = serving
        self._output = output
        self._run = UmlRunDir(record.run_dir)
        self._resolver = resolver
        resolver.follow(self._run)
        self._stall = Stall(self._run.full)
        self._plugs = Plugs(self._run.control, Units(self._run.units))
        self._nics = PluggedNics(self._run.nics, self._run.control)
        self._killed = False
        self._agent: asyncio.StreamWriter | None = None
        self._kept: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._ended = asyncio.create_task(self._supervise(), name=f"vm-{record.id}")

    @property
    def pid(self) -> int:
        return self.record.pid

    async def connect_agent(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        kept, self._kept = self._kept, None
        if kept is not None:
            return kept
        self._part_from_agent()
        try:
            reader, writer = await pipes.connect(self._run.agent_in, self._run.agent_out)
        except OSError as error:
            if self._process.ended():
                raise self._died(await self.wait()) from error
            raise HypervisorError(
                f"VM {self.record.id}: cannot reach its agent port: {error.strerror}"
            ) from error
        self._agent = writer
        return reader, writer

    def _died(self, ended: VMExit) -> LaunchError:
        """Before anybody spoke to it."""
        said = last_line(ended.stderr) or last_line(ended.console) or f"status {ended.exit_code}"
        return LaunchError(
            f"VM {self.record.name} did not start: {said}",
            exit_code=ended.exit_code,
            stderr=ended.stderr,
            console=ended.console,
        )

    def keep_agent(self, pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._kept = pair

    def on_stall(self, told: Callable[[bool], None]) -> None:
        self._stall.tell(told)

    async def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def paused(self) -> bool:
        return processes.stopped(self.pid)

    def _signal(self, number: signal.Signals) -> None:
        """To the kernel and, since all are of one group, to the guest's processes."""
        if self._process.ended():
            raise HypervisorError(f"VM {self.record.id} has ended")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def attach_disk(self, disk: DiskSpec) -> None:
        with usable(disk):
            await self._plugs.attach(disk)

    async def detach_disk(self, serial: str, *, timeout_s: float = 10.0) -> None:
        await self._plugs.detach(serial, timeout_s)

    async def grow_disk(self, serial: str, size_bytes: int) -> None:
        await self._plugs.grow(serial, size_bytes)

    async def insert_disk(self, disk: DiskSpec) -> None:
        with usable(disk):
            await self._plugs.insert(disk)

    async def eject_disk(self, serial: str) -> None:
        await self._plugs.eject(serial)

    async def attach_nic(self, nic: Nic) -> None:
        await self._nics.attach(nic, plugged_tap(nic))

    async def detach_nic(self, mac: str, *, timeout_s: float = 10.0) -> None:
        await self._nics.detach(mac, timeout_s)

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.add_forward(self._run, port, nic)

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.remove_forward(self._run, port, nic)

    async def save(self) -> Snapshot:
        raise NotSupported(f"VM {self.record.name}: User Mode Linux cannot be saved")

    def console_tail(self, max_bytes: int = CAPACITY_BYTES) -> str:
        if self._ended.done() and not self._ended.cancelled():
            return self._ended.result().console[-max_bytes:]
        return self._output.console(max_bytes)

    async def stats(self) -> VMStats:
        """Its children's too, who do the guest's work; their memory is its own, which all of them share."""
        return VMStats(processes.family_cpu_ns(self.pid), processes.resident_bytes(self.pid))

    async def wait(self) -> VMExit:
        await asyncio.wait([self._ended])  # which does not end with this caller
        if self._ended.cancelled():
            raise HypervisorError(f"VM {self.record.id}: this process has let go of it")
        return self._ended.result()

    async def kill(self) -> VMExit:
        self._killed = not (self._ended.done() or self._process.ended())
        self._process.kill()
        return await self.wait()

    async def close(self) -> None:
        self._ended.cancel()
        await asyncio.wait([self._ended])
        self._let_go()

    def _let_go(self) -> None:
        self._part_from_agent()
        self._resolver.leave(self._run)
        self._output.close()
        self._stall.close()
        for process in (self._process, *self._serving):
            process.close()

    def _part_from_agent(self) -> None:
        if self._agent is not None:
            self._agent.transport.abort()
            self._agent = None

    async def _supervise(self) -> VMExit:
        lost = await self._lost()
        code = await self._process.wait()
        for helper in self._serving:
            helper.kill()
            await helper.wait()
        await self._output.finish()
        cgroup = Cgroup(self.record.cgroups)
        said = None if code is None else _ENDINGS.get(code)
        reason = exit_reason(self._killed, said, cgroup.oom_killed(), code)
        stderr = shares.without_farewells(self._output.stderr())
        if lost and reason is not ExitReason.HOST_KILL:
            reason, stderr = ExitReason.CRASH, f"{stderr}the VM was ended, since {lost}\n"
        ended = VMExit(code, reason, stderr, self._output.console())
        self._let_go()
        clean(self._run, self.record)
        return ended

    async def _lost(self) -> str:
        """Returns once it is ending: why it was killed, where a helper had ended before it, or ""."""
        main = asyncio.create_task(self._process.wait())
        others = {
            asyncio.create_task(process.wait()): helper.name
            for process, helper in zip(self._serving, self.record.helpers, strict=True)
        }
        try:
            await asyncio.wait([main, *others], return_when=asyncio.FIRST_COMPLETED)
            if not main.done():  # a helper ends by itself when the VM has, and may be seen first
                await asyncio.wait([main], timeout=helpers.ENDING_S)
            if main.done():
                return ""
            self._process.kill()
            return next(f"the process for {name} had ended" for task, name in others.items() if task.done())
        finally:
            for task in (main, *others):
                task.cancel()
