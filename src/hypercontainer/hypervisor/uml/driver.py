"""Starts VMs whose kernel is a process of the host, User Mode Linux, and finds them again.

A launch goes through the steps of ``qemu.driver``; there is no machine to build and nothing to ask: once the gate is
open the guest boots, and what a host says meanwhile waits in the agent's pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers, jail, resolver
from hypercontainer.hypervisor.driver import (
    Accelerator,
    Capabilities,
    Check,
    Helper,
    Limits,
    Verdict,
    VMRecord,
    VMSpec,
)
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.launching import Gate, Launches, held, last_line, limit, stdio, words
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.uml import doctor, maps, probe, program, usernet
from hypercontainer.hypervisor.uml.argv import Mode, plan_fds, uml_argv
from hypercontainer.hypervisor.uml.disks import Units, open_locked
from hypercontainer.hypervisor.uml.places import UmlRunDir
from hypercontainer.hypervisor.uml.told import Told
from hypercontainer.hypervisor.uml.vm import UmlVM
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.linux import unix
from hypercontainer.linux.cgroup import Cgroup, Cgroups
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import Process

# A guest's process is a process of the host, and so is each of its threads' address spaces.
MAX_TASKS = 32768
# Beside the guest's memory: its kernel's program, and what the host has of each of its processes.  One that only sleeps
# takes 122 KiB of the guest's memory and 104 KiB of the host's, and so may as many as there is room for.
OVERHEAD_MIB = 64
PROCESSES_SHARE = 1.0
# Of the agent's: fewer turns for who sends much.
PIPE_BYTES = 1 << 18


@dataclass(frozen=True)
class Serving:
    """A NIC's process, at its gate; ``frames`` is the kernel's end of it."""

    name: str
    gate: Gate
    process: Process
    frames: socket.socket

    @property
    def helper(self) -> Helper:
        return Helper(self.name, self.process.pid, self.process.identity.start_ticks)


class UmlDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    name = "uml"

    def __init__(self, cache: Path, *, cgroups: Cgroups | None = None, mode: Mode = Mode.SECCOMP) -> None:
        """``cache`` is the file of what was found out."""
        self._mode = mode
        self._cache = FactCache(cache)
        self._cgroups = cgroups
        self._told = Told()
        self._launches: Launches[UmlVM] = Launches()

    async def capabilities(self) -> Capabilities:
        return Capabilities(
            self.name,
            "",
            frozenset({Accelerator.NATIVE}),
            sandbox=True,
            confinement=jail.words(await jail.means(self._cache)),
            not_limited=self.cgroups.not_limited,
        )

    @property
    def cgroups(self) -> Cgroups:
        if self._cgroups is None:
            self._cgroups = Cgroups.detect()
        return self._cgroups

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        if accelerator is not Accelerator.NATIVE:
            return Verdict(accelerator, usable=False, reason="User Mode Linux emulates no processor")
        if kernel is None:
            return Verdict(accelerator, usable=False, reason="there is no kernel for User Mode Linux")
        try:
            key = probe.verdict_key(kernel, self._mode)
        except OSError as error:
            raise Unavailable(f"cannot read kernel {kernel}: {error.strerror}") from error
        known = None if refresh else self._cache.get(key, Verdict)
        if known is None:
            known = await probe.probe(await jail.means(self._cache), kernel, self._mode)
            self._cache.put(key, known)
        return known

    async def diagnose(self) -> list[Check]:
        return doctor.diagnose(await jail.means(self._cache, refresh=True))

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        beside_mib = OVERHEAD_MIB + int(PROCESSES_SHARE * memory_mib)
        return Limits(memory_bytes=(memory_mib + beside_mib << 20) + boot_files_bytes, cpus=cpus)

    async def launch(self, spec: VMSpec) -> UmlVM:
        check_spec(spec)
        if spec.shares:
            raise NotSupported(
                f"VM {spec.name}: User Mode Linux has no directories of the host",
                hint="run it on QEMU: hypervisor qemu",
            )
        return await self._launches.run(self._launch(spec), spec.id)

    async def fingerprint(self, spec: VMSpec) -> str:
        raise _unsaved(spec)

    async def launch_to_save(self, spec: VMSpec) -> UmlVM:
        raise _unsaved(spec)

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> UmlVM:
        raise _unsaved(spec)

    def offer(self, ports: Collection[int]) -> None:
        self._told.offer(ports)

    async def adopt(self, record: VMRecord) -> UmlVM | None:
        process = Process.open(record.identity)
        serving = [one for one in helpers.held(record) if one is not None]
        if process is None or len(serving) < len(record.helpers):
            for one in (process, *serving):
                if one is not None:
                    one.close()
            await self.destroy(record)  # nothing but what was left of it, or a guest without its network
            return None
        with contextlib.ExitStack() as undo:
            for one in (process, *serving):
                undo.callback(one.close)
            try:
                output = _output(UmlRunDir(record.run_dir), new=False)
                undo.callback(output.close)
                vm = UmlVM(record, process, output, self._told, serving)
            except OSError as error:
                raise HypervisorError(f"VM {record.name}: it cannot be reached: {error}") from error
            undo.pop_all()
        return vm

    async def destroy(self, record: VMRecord) -> None:
        process = Process.open(record.identity)
        if process is not None:
            await helpers.end(process)
        await helpers.end_all(record)
        clean(UmlRunDir(record.run_dir), Cgroup(record.cgroups))

    async def _launch(self, spec: VMSpec) -> UmlVM:
        async with contextlib.AsyncExitStack() as undo:
            try:
                vm = await self._start(spec, await jail.means(self._cache), undo)
            except Unavailable as error:
                raise LaunchError(
                    f"VM {spec.name}: {error.message}", hint=error.hint, remedies=error.remedies
                ) from error
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            undo.pop_all()
        return vm

    async def _start(self, spec: VMSpec, means: Means, undo: contextlib.AsyncExitStack) -> UmlVM:
        """``undo`` gets what undoes it."""
        run = UmlRunDir(spec.run_dir)
        run.create()
        undo.callback(run.remove)
        with contextlib.ExitStack() as fds:
            program.check(spec.kernel)
            maps.enough_for(spec.name, spec.memory_mib)
            null, _, said = streams = stdio(run, fds)
            console = run.make_pipe(run.console)
            fds.callback(os.close, console)
            output = _output(run, new=True)
            undo.callback(output.close)
            try:
                serving = await self._serve(spec, run, means, streams, fds, undo)
                inherited = _handed(spec, run, fds)
                gate, process = await held(
                    uml_argv(spec, plan_fds(spec), self._mode),
                    environment={},
                    rights=program.rights(spec.kernel, spec.owner_uid, self._mode),
                    means=means,
                    stdio=(null, console, said),
                    inherited=[*inherited, *(one.frames.fileno() for one in serving)],
                    fds=fds,
                )
            except ChildProcessError as error:
                raise ChildProcessError(last_line(output.stderr()) or str(error)) from error
            undo.push_async_callback(helpers.end, process)
            record = self._record(spec, process, serving)
            run.write_record(record)
            processes = [process, *(one.process for one in serving)]
            limit(self.cgroups, spec.id, spec.limits or Limits(), MAX_TASKS, processes, undo)
            for opened in (*(one.gate for one in serving), gate):
                opened.open()
        await self._answering(spec, run, output)
        return UmlVM(record, process, output, self._told, [one.process for one in serving])

    async def _serve(
        self,
        spec: VMSpec,
        run: UmlRunDir,
        means: Means,
        streams: tuple[int, int, int],
        fds: contextlib.ExitStack,
        undo: contextlib.AsyncExitStack,
    ) -> list[Serving]:
        """All NICs' processes, in order; they wait at their gates."""
        serving: list[Serving] = []
        if spec.nics:
            resolver.tell(run)
        for place, nic in enumerate(spec.nics):
            ours, theirs = (
                fds.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            )
            control = fds.enter_context(unix.listen(run.network(place), kind=socket.SOCK_SEQPACKET))
            gate, process = await held(
                usernet.argv(nic, run, means),
                environment={},
                rights=await usernet.rights(nic, run, means, spec.owner_uid),
                means=means,
                stdio=streams,
                inherited=[theirs.fileno(), control.fileno()],
                fds=fds,
            )
            undo.push_async_callback(helpers.end, process)
            serving.append(Serving(f"network interface {place}", gate, process, ours))
        return serving

    async def _answering(self, spec: VMSpec, run: UmlRunDir, output: Output) -> None:
        """That the specification's forwards are there.  The guest's kernel is not asked: it answers by booting."""
        for place, nic in enumerate(spec.nics):
            if nic.backend.forwards:
                try:
                    await usernet.ready(run.network(place))
                except HypervisorError as error:
                    said = last_line(output.stderr()) or error.message
                    raise LaunchError(f"VM {spec.name} did not start: {said}") from error

    def _record(self, spec: VMSpec, process: Process, serving: Sequence[Serving]) -> VMRecord:
        return VMRecord(
            driver=self.name,
            id=spec.id,
            name=spec.name,
            pid=process.pid,
            start_ticks=process.identity.start_ticks,
            boot_id=process.identity.boot_id,
            run_dir=spec.run_dir,
            accelerator=Accelerator.NATIVE,
            hotplug_slots=spec.hotplug_slots,
            cgroups=self.cgroups.named(spec.id).paths,
            helpers=tuple(one.helper for one in serving),
        )


def _output(run: UmlRunDir, *, new: bool) -> Output:
    return Output(run, os.open(run.console, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), new=new)


def _handed(spec: VMSpec, run: UmlRunDir, fds: contextlib.ExitStack) -> list[int]:
    """In the order of ``plan_fds``, but for the NICs'."""
    inherited = []
    for path in (run.agent_in, run.agent_out):
        inherited.append(run.make_pipe(path))
        fds.callback(os.close, inherited[-1])
        with contextlib.suppress(PermissionError):  # a user has so many of them, and then they are shorter
            fcntl.fcntl(inherited[-1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    inherited.append(fds.enter_context(unix.receive(run.control)).fileno())
    inherited.append(run.make_pipe(run.full))
    fds.callback(os.close, inherited[-1])
    if spec.initrd is not None:
        inherited.append(os.open(spec.initrd, os.O_RDONLY | os.O_CLOEXEC))
        fds.callback(os.close, inherited[-1])
    for disk in spec.disks:
        inherited += open_locked(disk, fds)
    Units(run.units).write([disk.serial for disk in spec.disks], spec.hotplug_slots)
    return inherited


def _unsaved(spec: VMSpec) -> NotSupported:
    return NotSupported(f"VM {spec.name}: a VM of User Mode Linux is neither saved nor cloned")
