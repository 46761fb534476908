"""Starts VMs that VirtualBox runs, and finds them again.

A VM is defined by VBoxManage in a folder of its run directory, and run by a process of this driver's, which is told
its UUID.  The record is on disk before VirtualBox knows the VM; with the UUID in it whatever came of a launch is found
and removed, the process by its arguments, if hyperd ended before it had written down which that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.driver import Capabilities, Check, Lan, Verdict, VMRecord
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.extents import open_locked
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.launching import Launches, last_line, limit, stdio, whole, words
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainDriver
from hypercontainer.hypervisor.programs import file_key
from hypercontainer.hypervisor.resources import quota_for
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import EXISTING, NAT, Accelerator, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.hypervisor.virtualbox import argv, doctor, forwards, machines, parsing, vmdk
from hypercontainer.hypervisor.virtualbox.argv import Definition
from hypercontainer.hypervisor.virtualbox.log import Log
from hypercontainer.hypervisor.virtualbox.machines import UUID
from hypercontainer.hypervisor.virtualbox.manage import Installation, Manage
from hypercontainer.hypervisor.virtualbox.parsing import Version
from hypercontainer.hypervisor.virtualbox.places import VirtualBoxRunDir
from hypercontainer.hypervisor.virtualbox.vm import Line, VirtualBoxVM
from hypercontainer.linux import cgroup
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.process import Process

MAX_TASKS = 512
# Beside the guest's memory; by software, the programs' windows and the code that the recompiler has made.
OVERHEAD_MIB, DRIVERLESS_MIB = 256, 640
STARTED_S = 120.0

# Writes the disc that a guest is started from; blocks.
Boot = Callable[[VMSpec, Path], None]


class VirtualBoxDriver(PlainDriver):
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64

    def __init__(
        self,
        cache: Path,
        boot: Boot,
        line: Line,
        *,
        name: str = "virtualbox",
        installation: Installation | None = None,
        lan: Lan | None = None,
    ) -> None:
        """``cache`` is the file of what was found out."""
        self.name = name
        self._installation = installation or Installation()
        self._manage = Manage(self._installation)
        self._boot = boot
        self._lan = lan
        self._line = line
        self._cache = FactCache(cache)
        self._launches: Launches[VirtualBoxVM] = Launches()

    def check_installed(self) -> None:
        self._installation.runner()

    async def capabilities(self) -> Capabilities:
        version = await self._version()
        return Capabilities(
            self.name,
            ".".join(map(str, version)),
            frozenset({Accelerator.OWN}),
            plugs=False,
            devices=doctor.DEVICES,
            line=f"serial:{argv.AGENT_DEVICE}",
            nics=frozenset({NAT, EXISTING}),
            grows=False,
            not_limited=cgroup.here().not_limited,
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        """Nothing is booted: by which means VirtualBox runs a guest, it alone decides."""
        if accelerator is not Accelerator.OWN:
            return Verdict(accelerator, usable=False, reason="VirtualBox runs guests by its own means")
        try:
            self.check_installed()
            await self._version()
        except (Unavailable, HypervisorError) as error:
            return Verdict(accelerator, usable=False, reason=error.message)
        checks = doctor.means(self._installation)
        wrong = [check.detail for check in checks if check.ok is False]
        return Verdict(accelerator, usable=not wrong, reason="; ".join(wrong) or checks[0].detail)

    async def diagnose(self) -> list[Check]:
        return await doctor.diagnose(self._installation, self._manage)

    async def lan(self) -> Lan:
        if self._lan is None:
            hint = 'network = "bridged:DEVICE" and subnet in its table of the configuration'
            raise Unavailable(f"no network of VirtualBox's is named for {self.name}", hint=hint)
        return self._lan

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        beside_mib = DRIVERLESS_MIB if self._installation.driverless else OVERHEAD_MIB
        return Limits(memory_bytes=(memory_mib + beside_mib << 20) + boot_files_bytes, cpus=quota_for(cpus))

    async def launch(self, spec: VMSpec) -> VirtualBoxVM:
        check_spec(spec)
        _check(spec)
        return await self._launches.run(self._launch(spec), spec.id)

    async def launch_to_save(self, spec: VMSpec) -> VirtualBoxVM:
        raise _unsaved(spec)

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> VirtualBoxVM:
        raise _unsaved(spec)

    async def adopt(self, record: VMRecord) -> VirtualBoxVM | None:
        identity = record.identity
        process = Process.open(identity) if identity is not None else None
        if process is None:
            await self.destroy(record)
            return None
        run = VirtualBoxRunDir(record.run_dir, record.id)
        with contextlib.ExitStack() as undo:
            undo.callback(process.close)
            try:
                output = _output(run, new=False)
                undo.callback(output.close)
                said = Log(run)
            except OSError as error:
                if not await helpers.ends(process):
                    raise HypervisorError(f"VM {record.name}: it cannot be reached: {error}") from error
                await self.destroy(record)
                return None
            undo.pop_all()
        return VirtualBoxVM(record, process, output, said, self._manage, self._line)

    async def destroy(self, record: VMRecord) -> None:
        identity = record.identity
        await machines.interrupt(record, Path(self._installation.manage).name)
        process = Process.open(identity) if identity is not None else machines.running(record)
        if process is not None:
            await helpers.end(process)
        await machines.forget(self._manage, record)
        await machines.close_disks(self._manage, record)
        clean(VirtualBoxRunDir(record.run_dir, record.id), record)

    async def _version(self) -> Version:
        program = self._installation.program()
        key = f"virtualbox {file_key(Path(program))}"
        text = await self._cache.learned(key, str, partial(self._manage.run, "--version"))
        return doctor.supported(parsing.version(text), text)

    async def _launch(self, spec: VMSpec) -> VirtualBoxVM:
        async with contextlib.AsyncExitStack() as undo:
            try:
                program, version = self._installation.runner(), await self._version()
                vm = await self._start(spec, program, version, undo)
            except LaunchError:
                raise
            except (HypervisorError, Unavailable) as error:
                raise LaunchError(
                    f"VM {spec.name}: {error.message}", hint=error.hint, remedies=error.remedies
                ) from error
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            undo.pop_all()
        return vm

    async def _start(
        self, spec: VMSpec, program: str, version: Version, undo: contextlib.AsyncExitStack
    ) -> VirtualBoxVM:
        """``undo`` gets what undoes it."""
        run = VirtualBoxRunDir(spec.run_dir, spec.id)
        run.create()
        undo.callback(run.remove)
        record = self._record(spec)
        run.write_record(record)
        forwards.check_free(port for _, port in spec.forwards)
        with contextlib.ExitStack() as fds:
            null, _, said = stdio(run, fds)
            # The process holds its console's other end: a guest's words wait there while no hyperd reads them.
            held = [run.make_pipe(run.console)]
            fds.callback(os.close, held[0])
            output = _output(run, new=True)
            undo.callback(output.close)
            held += await whole(self._files, spec, run, fds)
            undo.push_async_callback(machines.forget, self._manage, record)
            await machines.make(
                self._manage,
                Definition(spec, record.foreign[UUID], run, version, self._installation.driverless),
            )
            run.logs.mkdir(exist_ok=True)
            log = Log(run)
            undo.callback(log.close)
            async with self._manage.served(record.foreign[UUID]):
                process = self._spawn(program, record, (null, null, said), held)
                undo.push_async_callback(helpers.end, process)
                record = _found(record, process)
                run.write_record(record)
                limit(spec.id, spec.limits or Limits(), MAX_TASKS, [process], undo)
                await _started(spec, run, process, log, output)
        return VirtualBoxVM(record, process, output, log, self._manage, self._line)

    def _files(self, spec: VMSpec, run: VirtualBoxRunDir, fds: contextlib.ExitStack) -> list[int]:
        """What the VM is made of; the descriptors have its disks' locks.  Blocks."""
        opened = [fd for disk in spec.disks for fd in open_locked(disk, fds)]
        run.disks.mkdir()
        for disk in spec.disks:
            run.descriptor(disk.serial).write_bytes(vmdk.descriptor(disk, uuid.uuid4()))
        self._boot(spec, run.boot)
        return opened

    def _spawn(
        self, program: str, record: VMRecord, streams: tuple[int, int, int], held: Sequence[int]
    ) -> Process:
        return Process.spawn(
            argv.run_argv(program, record.foreign[UUID], driverless=self._installation.driverless),
            env={"XDG_RUNTIME_DIR": str(record.run_dir), **self._installation.environment},
            stdio=streams,
            inherited=held,
        )

    def _record(self, spec: VMSpec) -> VMRecord:
        return VMRecord(
            driver=self.name,
            id=spec.id,
            name=spec.name,
            run_dir=spec.run_dir,
            accelerator=Accelerator.OWN,
            foreign={UUID: str(uuid.uuid4()), **forwards.addresses(spec)},
            cgroups=cgroup.here().named(spec.id).paths,
            waits_for_room=spec.waits_for_room,
        )


def _found(record: VMRecord, process: Process) -> VMRecord:
    its = process.identity
    return replace(record, pid=its.pid, start_ticks=its.start_ticks, boot_id=its.boot_id)


def _output(run: VirtualBoxRunDir, *, new: bool) -> Output:
    return Output(run, os.open(run.console, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), new=new)


async def _started(spec: VMSpec, run: VirtualBoxRunDir, process: Process, log: Log, output: Output) -> None:
    """That the guest runs and its ports are there.  Raises ``LaunchError``."""

    def runs() -> bool:
        return log.told.power_up_failed or (log.told.ran and run.agent.exists())

    waits = [asyncio.create_task(log.until(runs)), asyncio.create_task(process.wait())]
    try:
        await asyncio.wait(waits, timeout=STARTED_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
    log.catch_up()
    if log.told.ran and not log.told.power_up_failed:
        return
    said = output.stderr()
    why = (
        log.told.failed
        or last_line(said)
        or ("its process has ended" if process.ended() else f"nothing was heard of it for {STARTED_S:g} s")
    )
    raise LaunchError(f"VM {spec.name} did not start: {why}", stderr=said)


def _check(spec: VMSpec) -> None:
    """``NotSupported`` for what VirtualBox has not; ``InvalidArgument`` where its socket has no room."""
    for field, what in (("shares", "directories of the host"), ("remotes", "disks of the network")):
        if getattr(spec, field):
            hint = "run it on QEMU: hypervisor qemu"
            raise NotSupported(f"VM {spec.name}: VirtualBox has no {what} here", hint=hint)
    if spec.drives:
        raise NotSupported(f"VM {spec.name}: VirtualBox has no drives that a disk is put into later")
    if len(spec.disks) > argv.MAX_DISKS:
        raise NotSupported(f"VM {spec.name}: {len(spec.disks)} disks, VirtualBox has {argv.MAX_DISKS}")
    vmdk.check(spec.disks)
    argv.check_nics(spec.nics)
    if not VirtualBoxRunDir(spec.run_dir, spec.id).reachable:
        raise InvalidArgument(
            f"run_dir {spec.run_dir}: too long for a socket of VirtualBox's",
            hint="a shorter run directory of hyperd (HYPER_RUN)",
        )


def _unsaved(spec: VMSpec) -> NotSupported:
    return NotSupported(f"VM {spec.name}: a VM of VirtualBox is neither saved nor cloned")
