"""One running User Mode Linux, held by this process: a pidfd, its pipes, the drain of its console.

Its process is the guest's kernel; the guest's own processes are children of it.  A supervising task waits for its end,
gathers why, removes what is left, and resolves ``wait`` for everybody.  ``close`` ends the task without ending the VM.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, LaunchError, NotSupported
from hypercontainer.hypervisor import nics
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import ExitReason, VMExit, VMRecord, VMStats
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.launching import last_line
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.process_vm import ProcessVM
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import DiskSpec, Nic
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.hypervisor.uml import pipes
from hypercontainer.hypervisor.uml.disks import Plugs, Units
from hypercontainer.hypervisor.uml.places import UmlRunDir
from hypercontainer.hypervisor.uml.plugged_nics import PluggedNics
from hypercontainer.hypervisor.uml.stall import Stall
from hypercontainer.hypervisor.validate import plugged_tap, usable
from hypercontainer.linux import process as processes
from hypercontainer.linux.process import Process

# The kernel's exit status after a reboot and a panic (guest/kernel/patches/um).
RESET_STATUS = 3
_ENDINGS = {0: ExitReason.GUEST_SHUTDOWN, RESET_STATUS: ExitReason.GUEST_RESET}


class UmlVM(ProcessVM):
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
        super().__init__(record, process, output, serving)
        self._run = UmlRunDir(record.run_dir)
        self._resolver = resolver
        resolver.follow(self._run)
        self._stall = Stall(self._run.full)
        self._plugs = Plugs(self._run.control, Units(self._run.units))
        self._nics = PluggedNics(self._run.nics, self._run.control)
        self._ending = Ending(record, self._supervise())

    async def _reach_agent(self) -> Pair:
        try:
            return await pipes.connect(self._run.agent_in, self._run.agent_out)
        except OSError as error:
            if self._processes.main.ended():
                raise self._died(await self.wait()) from error
            raise HypervisorError(
                f"VM {self.record.id}: cannot reach its agent port: {error.strerror}"
            ) from error

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
        self._signal(signal.SIGSTOP)

    async def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def paused(self) -> bool:
        return processes.stopped(self.pid)

    def _signal(self, number: signal.Signals) -> None:
        """To the kernel and, since all are of one group, to the guest's processes."""
        if self._ending.over or self._processes.main.ended():
            raise HypervisorError(f"VM {self.record.id} has ended or is no longer held")
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

    async def stats(self) -> VMStats:
        """Its children's too, who do the guest's work; their memory is its own, which all of them share."""
        return VMStats(processes.family_cpu_ns(self.pid), processes.resident_bytes(self.pid))

    async def close(self) -> None:
        await self._ending.let_go()
        self._let_go()

    def _let_go(self) -> None:
        self._agent.part()
        self._resolver.leave(self._run)
        self.output.close()
        self._stall.close()
        self._processes.close()

    async def _supervise(self) -> VMExit:
        lost = await self._processes.lost()
        code = await self._processes.ended()
        await self.output.finish()
        said = None if code is None else _ENDINGS.get(code)
        ended = self._processes.exit(code, killed=self._killed, said=said, lost=lost, output=self.output)
        self._let_go()
        clean(self._run, self.record)
        return ended
