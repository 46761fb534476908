"""VMs in one vSphere: launched, found again, ended, with what they need of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from pyVmomi import vim, vmodl

from hypercontainer.errors import (
    HyperError,
    HypervisorError,
    InvalidArgument,
    LaunchError,
    NotFound,
    NotSupported,
    Unavailable,
)
from hypercontainer.hypervisor import boot_iso
from hypercontainer.hypervisor.console import ConsoleRing
from hypercontainer.hypervisor.driver import Check, ExitReason, VMRecord
from hypercontainer.hypervisor.esx import doctor, events, hardware, inventory, machines
from hypercontainer.hypervisor.esx.faults import Gone, Unreachable
from hypercontainer.hypervisor.esx.hardware import AGENT, CONSOLE, Lines, size_of
from hypercontainer.hypervisor.esx.inventory import Machine
from hypercontainer.hypervisor.esx.journal import Entry, Journal
from hypercontainer.hypervisor.esx.lines import Concentrator, Service
from hypercontainer.hypervisor.esx.session import Live, Session
from hypercontainer.hypervisor.esx.settings import Settings
from hypercontainer.hypervisor.esx.vm import EsxVM
from hypercontainer.hypervisor.esx.watch import State, Watch
from hypercontainer.hypervisor.launching import whole
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Existing, VMSpec

log = logging.getLogger(__name__)
# Disks go over a network, of whatever size and speed.
TRANSFER_S = 6 * 3600.0
# After which it is looked again for what nobody has a record of, and what could not be removed.
LATER_S = (2.0, 5.0, 20.0, 60.0, 300.0, 900.0, 3600.0)


class VSphere:
    def __init__(self, name: str, settings: Settings, state: Path, *, lost_s: float | None = None) -> None:
        """``lost_s``: how long a VM may be missing before it is lost."""
        self.name = name
        self.settings = settings
        self.session = Session(settings)
        self._journal = Journal(state)
        self._concentrator = Concentrator(settings, state)
        self._lost = {} if lost_s is None else {"lost_s": lost_s}
        self._watch: Watch | None = None
        self._images = threading.Lock()
        self._later: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------- launching

    async def launch(self, spec: VMSpec) -> EsxVM:
        check(spec)
        async with contextlib.AsyncExitStack() as undo:
            try:
                vm = await self._launch(spec, undo)
            except OSError as error:
                raise LaunchError(
                    f"VM {spec.name} cannot be started: {error.filename}: {error.strerror}"
                ) from error
            except (Unavailable, InvalidArgument) as error:
                said = error.message if spec.name in error.message else f"VM {spec.name}: {error.message}"
                raise LaunchError(said, hint=error.hint) from error
            undo.pop_all()
        return vm

    async def _launch(self, spec: VMSpec, undo: contextlib.AsyncExitStack) -> EsxVM:
        run = RunDir(spec.run_dir)
        run.create()
        undo.callback(run.remove)
        read = {place: disk for place, disk in enumerate(spec.disks) if disk.read_only}
        keys = {place: image_key(disk) for place, disk in read.items()}
        record = self._record(spec)
        uuid = record.foreign["uuid"]
        run.write_record(record)
        ring = ConsoleRing.create(run.ring)
        undo.callback(ring.close)
        services = await self._serve(record, ring, undo)
        lines = Lines(
            await self._concentrator.address(), {CONSOLE: services[0].name, AGENT: services[1].name}
        )
        iso = run.path / machines.ISO
        await whole(write_iso, spec, iso)
        what = f"launching VM {spec.name}"
        await self.session.run(what, self._sweep)
        entry = Entry(str(run.path), tuple(keys.values()))
        undo.push_async_callback(self._undo, uuid)
        await whole(self._journal.write, uuid, entry)
        making = partial(self._make, spec, uuid, lines, iso, read, keys)
        machine = await self.session.run(what, making, timeout_s=TRANSFER_S)
        iso.unlink()
        await whole(self._journal.write, uuid, msgspec.structs.replace(entry, started=True))
        await self.session.run(what, lambda live: machines.start(live, machine))
        return await self._held(record, ring, services)

    def _make(
        self,
        spec: VMSpec,
        uuid: str,
        lines: Lines,
        iso: Path,
        read: dict[int, DiskSpec],
        keys: dict[int, str],
        live: Live,
    ) -> Machine:
        images = []
        for place, disk in read.items():
            with self._images:
                parent = machines.hold(live, self._journal, keys[place], disk)
            images.append((place, parent, size_of(disk)))
        making = machines.Making(spec, uuid, lines, iso, tuple(images), tuple(keys.values()))
        return machines.create(live, self._journal, making)

    def _record(self, spec: VMSpec) -> VMRecord:
        written = [(str(disk.extents[0][0]), size_of(disk)) for disk in spec.disks if not disk.read_only]
        return VMRecord(
            driver=self.name,
            id=spec.id,
            name=spec.name,
            run_dir=spec.run_dir,
            accelerator=Accelerator.OWN,
            foreign={
                "uuid": self._journal.vm_uuid(),
                CONSOLE: f"hyper-{CONSOLE}-{secrets.token_hex(16)}",
                AGENT: f"hyper-{AGENT}-{secrets.token_hex(16)}",
                "disks": json.dumps(written),
            },
            hotplug_slots=spec.hotplug_slots,
            waits_for_room=spec.waits_for_room,
        )

    async def _serve(
        self, record: VMRecord, ring: ConsoleRing, undo: contextlib.AsyncExitStack
    ) -> tuple[Service, Service]:
        console = await self._concentrator.add(record.foreign[CONSOLE], ring.write)
        undo.push_async_callback(self._concentrator.remove, console)
        agent = await self._concentrator.add(record.foreign[AGENT], _nobody)
        undo.push_async_callback(self._concentrator.remove, agent)
        return console, agent

    async def _held(self, record: VMRecord, ring: ConsoleRing, services: tuple[Service, Service]) -> EsxVM:
        vm = EsxVM(record, self, ring, services)
        watch, what = self._watching(), f"watching VM {record.name}"
        try:
            await self.session.run(what, lambda live: watch.follow(vm.uuid, vm.told, live))
        except Unreachable:
            await asyncio.to_thread(watch.follow, vm.uuid, vm.told)
        except BaseException:
            await vm.close()
            raise
        return vm

    async def _undo(self, uuid: str) -> None:
        """Of a launch that came to nothing.  What cannot be removed now stays in the journal, and is removed later."""
        try:
            await self.session.run("undoing a launch", partial(self._remove, uuid))
        except HyperError as error:
            log.warning("a VM that did not start is removed from vSphere when that is possible: %s", error)
            self._look_later()
            return
        self._journal.end(uuid)

    def _remove(self, uuid: str, live: Live) -> bool:
        return machines.whole(live, uuid, self._journal.owner, partial(machines.remove, live))

    def _sweep(self, live: Live) -> None:
        """What killed hyperds have left, and images that are too many."""
        for uuid in self._journal.nobodys():
            try:
                removed = self._remove(uuid, live)
            except vim.fault.NotAuthenticated:
                raise
            except (vmodl.MethodFault, HyperError) as error:  # it stands in the way of no other
                log.warning("VM %s, which nobody has, is not removed from vSphere yet: %s", uuid, error)
                continue
            if removed or self._journal.is_late(uuid):
                self._journal.end(uuid)
        with self._images:
            machines.release(live, self._journal, self.settings.images)

    def _look_later(self) -> None:
        """For what vSphere makes of a launch only when whoever asked for it is gone."""
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._sweep_later(), name="esx-later")

    async def _sweep_later(self) -> None:
        for seconds in LATER_S:
            await asyncio.sleep(seconds)
            if not await asyncio.to_thread(self._journal.nobodys):
                return
            with contextlib.suppress(HyperError):
                await self.session.run("looking for what is left of VMs", self._sweep)

    # ------------------------------------------------------------------------------------- found again

    async def adopt(self, record: VMRecord) -> EsxVM | None:
        try:
            if await self.state(record) not in (State.ON, State.SUSPENDED):
                await self.destroy(record)
                return None
        except Unreachable:
            pass  # its serial ports come to us all the same, and the watch finds out what became of it
        async with contextlib.AsyncExitStack() as undo:
            try:
                ring = ConsoleRing.open(RunDir(record.run_dir).ring)
            except OSError as error:
                raise HypervisorError(f"VM {record.name}: it cannot be reached: {error}") from error
            undo.callback(ring.close)
            vm = await self._held(record, ring, await self._serve(record, ring, undo))
            undo.pop_all()
        return vm

    async def state(self, record: VMRecord) -> State:
        def look(live: Live) -> State:
            machine = inventory.find(live, record.foreign["uuid"], self._journal.owner)
            if machine is None:
                return State.LOST
            return State.ON if machine.on else State.SUSPENDED if machine.suspended else State.OFF

        try:
            return await self.session.run(f"looking for VM {record.name}", look)
        except Gone:
            return State.LOST

    async def destroy(self, record: VMRecord) -> None:
        """Raises ``Unreachable``: then it is not known to have ended."""
        await self.end(record)
        RunDir(record.run_dir).remove()
        if record.foreign["uuid"] in await asyncio.to_thread(self._journal.nobodys):
            self._look_later()

    async def end(self, record: VMRecord) -> str:
        """See ``vm.Sphere``."""
        uuid, owner = record.foreign["uuid"], self._journal.owner
        disks = written_of(record)

        def finish(live: Live) -> None:
            found = machines.whole(
                live,
                uuid,
                owner,
                lambda machine: machines.finished(live, machine, disks, self._journal.spool),
            )
            self._journal.end(uuid, unsure=not found)

        try:
            await self.session.run(f"removing VM {record.name}", finish, timeout_s=TRANSFER_S)
        except Unreachable:
            raise
        except HyperError as error:
            self._journal.end(uuid, unsure=True)  # it is kept, for what it may have of its disks
            return f"it was not removed from vSphere, where it is called {record.name}: {error}\n"
        return ""

    async def why(self, record: VMRecord) -> tuple[ExitReason, str]:
        return await self.session.run(
            f"VM {record.name}", lambda live: events.why_off(live, self.needed(live, record.foreign["uuid"]))
        )

    # ------------------------------------------------------------------------------------- for a VM

    async def with_machine(self, what: str, uuid: str, work: Callable[[Live, Machine], None]) -> bool:
        owner = self._journal.owner
        return await self.session.run(
            what, lambda live: machines.whole(live, uuid, owner, partial(work, live))
        )

    def needed(self, live: Live, uuid: str) -> Any:
        machine = inventory.find(live, uuid, self._journal.owner)
        if machine is None:
            raise Gone("the VM is not in vSphere any more")
        return machine.ref

    async def let_go(self, uuid: str, services: Sequence[Service]) -> None:
        for service in services:
            await self._concentrator.remove(service)
        if self._watch is not None:
            await asyncio.to_thread(self._watch.leave, uuid)

    def _watching(self) -> Watch:
        if self._watch is None:
            self._watch = Watch(self.session, self._journal.owner, **self._lost)
        return self._watch

    async def introduced(self) -> str:
        return await self.session.run("looking", doctor.introduced)

    async def check_network(self, name: str) -> None:
        """Raises ``Unavailable`` where there is none of this name."""
        try:
            await self.session.run("looking for a network", lambda live: inventory.network(live, name))
        except NotFound as error:
            raise Unavailable(error.message, hint=error.hint) from error

    async def diagnose(self) -> list[Check]:
        checks = await asyncio.to_thread(doctor.diagnose, self.session)
        name = f"{self.settings.where}: serial ports"
        try:
            await self._concentrator.check()
            return [*checks, Check(name, True, f"led to {await self._concentrator.address()}")]
        except HyperError as error:
            return [*checks, Check(name, False, error.message, error.hint or "")]

    async def close(self) -> None:
        """VMs go on."""
        if self._later is not None:
            self._later.cancel()
            await asyncio.wait([self._later])
        if self._watch is not None:
            await asyncio.to_thread(self._watch.close)
        await self._concentrator.close()
        await asyncio.to_thread(self.session.close)


def check(spec: VMSpec) -> None:
    """Raises ``NotSupported``, for what a VM of vSphere cannot have."""
    what = f"VM {spec.name}"
    lacks = {
        "directories of the host": spec.shares,
        "disks of the network": spec.remotes,
        "drives": spec.drives,
    }
    for name, there in lacks.items():
        if there:
            raise NotSupported(
                f"{what}: a VM of vSphere has no {name}", hint="run it on QEMU: hypervisor qemu"
            )
    if len(spec.disks) > hardware.UNITS:
        raise NotSupported(f"{what}: a VM of vSphere has {hardware.UNITS} disks at most")
    for disk in spec.disks:
        if disk.format != "raw" or disk.device:
            raise NotSupported(f"disk {disk.extents[0][0]}: only a raw file is brought to vSphere")
    for nic in spec.nics:
        if not isinstance(nic.backend, Existing):
            raise NotSupported(
                f"network interface {nic.mac}: a VM of vSphere is in a network that is there already",
                hint="one by the name of a port group",
            )


def places(spec: VMSpec) -> str:
    """What the guest is told of which disk is which, by their addresses on the only bus with disks."""
    said = [f"0:0:{hardware.unit_of(place)}:0:{disk.serial}" for place, disk in enumerate(spec.disks)]
    return f"hyper.disks={','.join(said)}" if said else ""


def write_iso(spec: VMSpec, path: Path) -> None:
    """A disc that boots it.  Blocks."""
    if spec.initrd is None:
        raise NotSupported(f"VM {spec.name}: a VM of vSphere boots with an initrd")
    words = [*spec.kernel_args, *filter(None, [places(spec)])]
    boot_iso.write(path, boot_iso.for_loaders(spec.kernel), spec.initrd, words, boot_iso.Loader())


def image_key(disk: DiskSpec) -> str:
    """The same for the same files, and another once one of them is another.  Raises ``OSError``."""
    digest = hashlib.sha256()
    for path, size in disk.extents:
        found = path.stat()
        digest.update(f"{path}\0{size}\0{found.st_dev}\0{found.st_ino}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:32]


def written_of(record: VMRecord) -> list[DiskSpec]:
    """The disks that it writes to, in order."""
    written = json.loads(record.foreign.get("disks", "[]"))
    return [
        DiskSpec(f"disk{place}", ((Path(path), size),), False) for place, (path, size) in enumerate(written)
    ]


def _nobody(data: bytes) -> None:
    """What a guest's agent says that nobody listens to."""
