"""A driver without a hypervisor: for the engine's tests, and held to the same contract as the real one.

Its VMs live in this process and outlive the driver and VM objects that hold them, so that ``close`` and ``adopt``
mean what they mean elsewhere.  ``guest`` plays the agent: it is called with each connection to the agent port.
``FakeDriver.machine`` is the guest's own side, for a test to power it off, let it crash or write to its console.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from fake_host import bound, check_files, check_share
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, HypervisorError, LaunchError, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor.agent_port import AgentPort, Pair
from hypercontainer.hypervisor.console import CAPACITY_BYTES, ConsoleRing
from hypercontainer.hypervisor.driver import (
    Capabilities,
    Check,
    ExitReason,
    Lan,
    Verdict,
    VMExit,
    VMRecord,
    VMStats,
)
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot, memory_file, sealed
from hypercontainer.hypervisor.spec import (
    EXISTING,
    NAT,
    TAP,
    VIRTIOFS,
    Accelerator,
    DiskSpec,
    Existing,
    Limits,
    Nic,
    VMSpec,
)
from hypercontainer.hypervisor.text import printable
from hypercontainer.hypervisor.validate import (
    check_disk,
    check_forward,
    check_spec,
    check_unshared,
    plugged_tap,
)
from hypercontainer.linux import process as processes
from hypercontainer.linux import unix
from hypercontainer.linux.architectures import AMD64

Guest = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

# Every running fake machine of this process, by its record's start_ticks.
_machines: dict[int, FakeMachine] = {}


async def silent_guest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A guest that takes everything and says nothing."""
    while await reader.read(65536):
        pass
    writer.close()


class FakeMachine:
    """What goes on while nobody holds it."""

    def __init__(self, spec: VMSpec, guest: Guest, unplugs: bool) -> None:
        self.spec = spec
        self.unplugs = unplugs
        self.going = asyncio.Event()  # not while it is paused: its guest hears nothing then
        self.going.set()
        self.saveable = False
        self.stalled = False
        self.on_stall: Callable[[bool], None] = lambda full: None
        self.disks = {disk.serial: disk for disk in spec.disks}
        self.drives: dict[str, DiskSpec | None] = {drive.serial: None for drive in spec.drives}
        self.nics: dict[str, Nic] = {}  # that were attached
        self.forwards: dict[tuple[int, PortMapping], socket.socket] = {}
        self.ended = asyncio.Event()
        self.exit: VMExit | None = None
        self._guest = guest
        self._run = RunDir(spec.run_dir)
        self._peers: set[asyncio.StreamWriter] = set()
        self._relays: set[asyncio.Task[None]] = set()
        self._owned = contextlib.AsyncExitStack()

    async def start(self, record: VMRecord) -> None:
        """Raises ``OSError``, and then nothing is left."""
        async with self._owned:
            self._run.create()
            self._owned.callback(self._run.remove)
            self._console = ConsoleRing.create(self._run.ring)
            self._owned.callback(self._console.close)
            for disk in self.spec.disks:
                check_files(disk)
            for share in self.spec.shares:
                check_share(share)
            for path in (self.spec.kernel, self.spec.initrd):
                if path is not None:
                    path.open("rb").close()
            for nic, port in self.spec.forwards:
                self.forwards[nic, port] = bound(port)
                self._owned.callback(self.forwards[nic, port].close)
            server = await asyncio.start_unix_server(self._connected, sock=unix.listen(self._run.agent))
            self._owned.callback(server.close)
            self._run.write_record(record)
            self._owned = self._owned.pop_all()
        self.record = record
        _machines[record.start_ticks] = self

    def write_console(self, data: bytes) -> None:
        self._console.write(data)

    def console(self, max_bytes: int) -> str:
        return self.exit.console[-max_bytes:] if self.exit else printable(self._console.tail(max_bytes))

    def stall(self, full: bool) -> None:
        """The host's disk is full, or has room again."""
        self.stalled = full
        if full:
            self.going.clear()
        else:
            self.going.set()
        self.on_stall(full)

    def power_off(self) -> None:
        self.end(0, ExitReason.GUEST_SHUTDOWN)

    def reboot(self) -> None:
        self.end(0, ExitReason.GUEST_RESET)

    def crash(self, stderr: str = "") -> None:
        self.end(-6, ExitReason.CRASH, stderr)

    def end(self, code: int, reason: ExitReason, stderr: str = "") -> None:
        """Everything ends at once, as when a process dies; what follows is in ``cleaned``."""
        if self.exit is None:
            self.exit = VMExit(code, reason, stderr, printable(self._console.tail()))
            del _machines[self.record.start_ticks]
            self.going.set()
            for peer in self._peers:
                peer.close()
            for forward in self.forwards.values():
                forward.close()
            self._cleaning = asyncio.create_task(self._clean())

    async def _clean(self) -> None:
        await self._owned.aclose()
        self.ended.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.add(writer)
        try:
            if self.exit is None:  # else it came too late
                await self._guest(self._heard(reader), writer)
        except ConnectionError:
            pass  # its peer went away, which is a peer's right
        finally:
            self._peers.discard(writer)
            writer.close()

    @property
    def paused(self) -> bool:
        return not self.going.is_set()

    def _heard(self, reader: asyncio.StreamReader) -> asyncio.StreamReader:
        """What comes from ``reader``, while the machine goes."""
        heard = asyncio.StreamReader()

        async def relay() -> None:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    await self.going.wait()
                    heard.feed_data(data)
            heard.feed_eof()

        task = asyncio.create_task(relay())
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        return heard


class FakeVM:
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(self, machine: FakeMachine) -> None:
        self.record = machine.record
        self._machine = machine
        self._agent = AgentPort(self._reach_agent)
        self._closed = asyncio.Event()

    @property
    def pid(self) -> int:
        return self.record.pid

    def _running(self) -> FakeMachine:
        if self._machine.exit is not None or self._closed.is_set():
            raise HypervisorError(f"VM {self.record.id} has ended or is no longer held")
        return self._machine

    async def connect_agent(self) -> Pair:
        self._running()
        return await self._agent.connect()

    async def _reach_agent(self) -> Pair:
        return await asyncio.open_unix_connection(sock=unix.connect(RunDir(self.record.run_dir).agent))

    def keep_agent(self, pair: Pair) -> None:
        self._agent.keep(pair)

    async def pause(self) -> None:
        self._running().going.clear()

    async def resume(self) -> None:
        self._running().going.set()

    async def paused(self) -> bool:
        return self._running().paused and not self._machine.stalled

    def on_stall(self, told: Callable[[bool], None]) -> None:
        self._machine.on_stall = told
        if self._machine.stalled:
            told(True)

    async def attach_disk(self, disk: DiskSpec) -> None:
        check_disk(disk)
        machine = self._running()
        disks = machine.disks
        if disk.serial in disks:
            raise Conflict(f"disk {disk.serial} is attached already")
        if len(disks) - len(machine.spec.disks) + len(machine.nics) >= machine.spec.hotplug_slots:
            raise Unavailable(f"disk {disk.serial}: all slots are taken")
        try:
            check_files(disk)
        except OSError as error:
            raise HypervisorError(f"disk {disk.serial}: {error.filename}: {error.strerror}") from error
        disks[disk.serial] = disk

    async def detach_disk(self, serial: str, *, timeout_s: float = 10.0) -> None:
        machine = self._running()
        if serial not in machine.disks:
            raise NotFound(f"no disk {serial} is attached")
        if not machine.unplugs:
            raise HypervisorError(f"the guest did not give up disk {serial} within {timeout_s:g} s")
        del machine.disks[serial]

    async def grow_disk(self, serial: str, size_bytes: int) -> None:
        disks = self._running().disks
        if serial not in disks:
            raise NotFound(f"no disk {serial} is attached")
        grown = replace(disks[serial], extents=((disks[serial].extents[0][0], size_bytes),))
        check_files(grown)
        disks[serial] = grown

    async def insert_disk(self, disk: DiskSpec) -> None:
        check_disk(disk)
        drives = self._running().drives
        if disk.serial not in drives:
            raise NotFound(f"there is no drive {disk.serial}")
        if drives[disk.serial] is not None:
            raise Conflict(f"drive {disk.serial} has a disk in it")
        try:
            check_files(disk)
        except OSError as error:
            raise HypervisorError(f"disk {disk.serial}: {error.strerror or error}") from error
        drives[disk.serial] = disk

    async def eject_disk(self, serial: str) -> None:
        drives = self._running().drives
        if drives.get(serial) is None:
            raise NotFound(f"drive {serial} is empty")
        drives[serial] = None

    async def attach_nic(self, nic: Nic) -> None:
        plugged_tap(nic)
        machine = self._running()
        if nic.mac in machine.nics or nic.mac in {one.mac for one in machine.spec.nics}:
            raise Conflict(f"network interface {nic.mac} is attached already")
        more = len(machine.nics) + len(machine.disks) - len(machine.spec.disks)
        if more >= machine.spec.hotplug_slots:
            raise Unavailable(f"network interface {nic.mac}: all slots are taken")
        machine.nics[nic.mac] = nic

    async def detach_nic(self, mac: str, *, timeout_s: float = 10.0) -> None:
        machine = self._running()
        if mac not in machine.nics:
            raise NotFound(f"no network interface {mac} is attached")
        if not machine.unplugs:
            raise HypervisorError(f"the guest did not give up network interface {mac} within {timeout_s:g} s")
        del machine.nics[mac]

    async def save(self) -> Snapshot:
        machine = self._running()
        if not machine.saveable:
            raise HypervisorError(f"VM {self.record.id} was not launched to be saved")
        snapshot = sealed(memory_file("memory", machine.spec.memory_mib << 20), memory_file("state"))
        await self.kill()
        return snapshot

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        check_forward(port)
        machine = self._running()
        if nic >= len(machine.spec.nics):
            raise Unavailable(f"cannot forward {port.host_ip}:{port.host_port}: there is no NIC {nic}")
        try:
            machine.forwards[nic, port] = bound(port)
        except OSError as error:
            raise Unavailable(f"cannot forward {port.host_ip}:{port.host_port}: {error.strerror}") from error

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        check_forward(port)
        bound_socket = self._running().forwards.pop((nic, port), None)
        if bound_socket is None:
            raise NotFound(f"no forward of {port.host_ip}:{port.host_port}")
        bound_socket.close()

    def console_tail(self, max_bytes: int = CAPACITY_BYTES) -> str:
        return self._machine.console(max_bytes)

    async def stats(self) -> VMStats:
        return VMStats(processes.cpu_ns(self.pid), processes.resident_bytes(self.pid))

    async def wait(self) -> VMExit:
        waits = [asyncio.create_task(one.wait()) for one in (self._machine.ended, self._closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._machine.ended.is_set():
            raise HypervisorError(f"VM {self.record.id}: this process has let go of it")
        assert self._machine.exit is not None
        return self._machine.exit

    async def kill(self) -> VMExit:
        self._machine.end(-9, ExitReason.HOST_KILL)
        return await self.wait()

    async def close(self) -> None:
        self._closed.set()
        self._agent.part()


class FakeDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``; ``kvm`` is what a probe of KVM finds.

    ``unplugs`` is whether guests give disks up when asked, ``ahead`` whether it says that VMs can be made ahead.
    """

    name = "fake"
    architecture = AMD64

    def __init__(
        self,
        guest: Guest = silent_guest,
        *,
        kvm: bool = False,
        unplugs: bool = True,
        ahead: bool = False,
    ) -> None:
        self._ahead = ahead
        self._guest = guest
        self._kvm = kvm
        self._unplugs = unplugs
        self.existing: Lan | None = None
        self.nics = frozenset({NAT, TAP})

    def check_installed(self) -> None:
        pass

    async def capabilities(self) -> Capabilities:
        accelerators = frozenset({Accelerator.KVM, Accelerator.TCG})
        return Capabilities(
            self.name,
            "1",
            accelerators,
            templates=self._ahead,
            drives=self._ahead,
            shares=VIRTIOFS,
            nics=self.nics,
            formats=self._ahead,
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        usable = self._kvm or accelerator is Accelerator.TCG
        return Verdict(accelerator, usable, "so it was told")

    async def lan(self) -> Lan:
        if self.existing is None:
            raise Unavailable("no network is named")
        return self.existing

    async def diagnose(self) -> list[Check]:
        return [Check("fake hypervisor", True, "always there")]

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        return Limits((memory_mib << 20) + boot_files_bytes, cpus)

    async def launch(self, spec: VMSpec) -> FakeVM:
        check_spec(spec)
        unknown = [nic.backend.network for nic in spec.nics if isinstance(nic.backend, Existing)]
        if unknown and EXISTING not in self.nics:
            raise NotSupported(f"there is no network {unknown[0]!r}")
        machine = FakeMachine(spec, self._guest, self._unplugs)
        record = VMRecord(
            driver=self.name,
            id=spec.id,
            name=spec.name,
            pid=os.getpid(),
            start_ticks=id(machine),
            boot_id=processes.boot_id(),
            run_dir=spec.run_dir,
            accelerator=spec.accelerator,
            shares=VIRTIOFS if spec.shares else "",
            taps=spec.taps,
        )
        try:
            await machine.start(record)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise LaunchError(
                f"VM {spec.name} cannot be started: {where}{error.strerror or error}"
            ) from error
        return FakeVM(machine)

    async def fingerprint(self, spec: VMSpec) -> str:
        return f"{spec.memory_mib} {spec.vcpus} {spec.kernel_args} {spec.hotplug_slots} {spec.as_seen().nics}"

    async def launch_to_save(self, spec: VMSpec) -> FakeVM:
        check_unshared(spec)
        vm = await self.launch(spec)
        self.machine(spec.id).saveable = True
        return vm

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> FakeVM:
        check_unshared(spec)
        if os.fstat(snapshot.memory_fd).st_size != spec.memory_mib << 20:
            raise Unavailable("cannot be cloned: another size of memory was saved")
        vm = await self.launch(spec)
        self.machine(spec.id).going.clear()
        return vm

    async def adopt(self, record: VMRecord) -> FakeVM | None:
        machine = _machines.get(record.start_ticks)
        if machine is not None and machine.record == record:
            return FakeVM(machine)
        RunDir(record.run_dir).remove()
        return None

    async def destroy(self, record: VMRecord) -> None:
        if (vm := await self.adopt(record)) is not None:
            await vm.kill()

    def machine(self, vm_id: str) -> FakeMachine:
        """The running machine with this id; raises ``KeyError``."""
        for machine in _machines.values():
            if machine.spec.id == vm_id:
                return machine
        raise KeyError(vm_id)
