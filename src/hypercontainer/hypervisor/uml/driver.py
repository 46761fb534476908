"""Starts VMs whose kernel is a process of the host, User Mode Linux, and finds them again.

A launch goes through the steps of ``qemu.driver``; there is no machine to build and nothing to ask: once the gate is
open the guest boots, and what a host says meanwhile waits in the agent's pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from hypercontainer.contract.devices import UML
from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers, jail, nics, shares, trial
from hypercontainer.hypervisor.driver import Capabilities, Check, Lan, Verdict, VMRecord
from hypercontainer.hypervisor.ending import destroyed, drop
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.helpers import Served
from hypercontainer.hypervisor.launching import Gate, Launches, held, last_line, limit, recorded, stdio, words
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.resources import quota_for
from hypercontainer.hypervisor.shares import SHARE_MIB
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import VIRTIOFS, Accelerator, Limits, VMSpec
from hypercontainer.hypervisor.uml import doctor, maps, probe, program
from hypercontainer.hypervisor.uml.argv import Mode, plan_fds, uml_argv
from hypercontainer.hypervisor.uml.disks import Units, open_locked
from hypercontainer.hypervisor.uml.places import UmlRunDir
from hypercontainer.hypervisor.uml.plugged_nics import PluggedNics
from hypercontainer.hypervisor.uml.vm import UmlVM
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.linux import cgroup, unix
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import Process
from hypercontainer.linux.waiting import both

# A guest's process is a process of the host, and so is each of its threads' address spaces.
MAX_TASKS = 32768
# Beside the guest's memory: its kernel's program, and what the host has of each of its processes.  One that only sleeps
# takes 122 KiB of the guest's memory and 104 KiB of the host's, and so may as many as there is room for.
OVERHEAD_MIB = 64
PROCESSES_SHARE = 1.0
# Of the agent's: fewer turns for who sends much.
PIPE_BYTES = 1 << 18


class UmlDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    name = "uml"
    architecture = AMD64

    def __init__(self, cache: Path, *, mode: Mode = Mode.SECCOMP) -> None:
        """``cache`` is the file of what was found out."""
        self._mode = mode
        self._cache = FactCache(cache)
        self._resolver = Resolver()
        self._launches: Launches[UmlVM] = Launches()

    def check_installed(self) -> None:
        """It is a kernel, and whoever looks for one says what there is to install."""

    async def capabilities(self) -> Capabilities:
        return Capabilities(
            self.name,
            "",
            frozenset({Accelerator.NATIVE}),
            drives=True,
            devices=UML,
            sandbox=True,
            shares=(await shares.probe(self._cache, p9=False)).filesystem,
            together=bool((await shares.probe_together(self._cache)).filesystem),
            confinement=jail.words(await jail.means(self._cache)),
            not_limited=cgroup.here().not_limited,
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        if accelerator is not Accelerator.NATIVE:
            return Verdict(accelerator, usable=False, reason="User Mode Linux emulates no processor")
        if kernel is None:
            return Verdict(accelerator, usable=False, reason="there is no kernel for User Mode Linux")
        with trial.of_kernel(kernel):
            key = probe.verdict_key(kernel, self._mode)

        async def ask() -> Verdict:
            return await probe.probe(await jail.means(self._cache), kernel, self._mode)

        return await self._cache.learned(key, Verdict, ask, refresh=refresh)

    async def diagnose(self) -> list[Check]:
        served = await shares.probe(self._cache, refresh=True, p9=False)
        together = await shares.probe_together(self._cache, refresh=True)
        return [
            *doctor.diagnose(await jail.means(self._cache, refresh=True), served),
            shares.check_together(together),
        ]

    async def lan(self) -> Lan:
        raise NotSupported("User Mode Linux has no network of its own")

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        beside_mib = OVERHEAD_MIB + int(PROCESSES_SHARE * memory_mib) + SHARE_MIB * shares
        return Limits(memory_bytes=(memory_mib + beside_mib << 20) + boot_files_bytes, cpus=quota_for(cpus))

    async def launch(self, spec: VMSpec) -> UmlVM:
        check_spec(spec)
        return await self._launches.run(self._launch(spec), spec.id)

    async def fingerprint(self, spec: VMSpec) -> str:
        plain = spec.as_seen()
        beside = [spec.hotplug_slots, *spec.drives, *plain.nics]
        return "\0".join([*uml_argv(plain, plan_fds(plain), self._mode), *map(repr, beside)])

    async def launch_to_save(self, spec: VMSpec) -> UmlVM:
        raise _unsaved(spec)

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> UmlVM:
        raise _unsaved(spec)

    async def adopt(self, record: VMRecord) -> UmlVM | None:
        found = helpers.taken_up(record)
        if found is None:
            # Nothing but what was left of it, or a guest without its network or its files.
            await self.destroy(record)
            return None
        process, *beside = found
        with contextlib.ExitStack() as undo:
            for one in found:
                undo.callback(one.close)
            try:
                output = _output(UmlRunDir(record.run_dir), new=False)
                undo.callback(output.close)
                vm = UmlVM(record, process, output, self._resolver, beside)
            except OSError as error:
                raise HypervisorError(f"VM {record.name}: it cannot be reached: {error}") from error
            undo.pop_all()
        return vm

    async def destroy(self, record: VMRecord) -> None:
        await destroyed(record)

    async def _launch(self, spec: VMSpec) -> UmlVM:
        if spec.remotes:
            raise NotSupported(
                f"disk {spec.remotes[0].words}: User Mode Linux has no disks of the network",
                hint="run it on QEMU: hypervisor qemu",
            )
        async with contextlib.AsyncExitStack() as undo:
            try:
                server = await shares.find_all(self._cache, spec.shares, p9=False)
                vm = await self._start(spec, await jail.means(self._cache), server, undo)
            except Unavailable as error:
                raise LaunchError(
                    f"VM {spec.name}: {error.message}", hint=error.hint, remedies=error.remedies
                ) from error
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            undo.pop_all()
        return vm

    async def _start(
        self, spec: VMSpec, means: Means, server: shares.Server | None, undo: contextlib.AsyncExitStack
    ) -> UmlVM:
        """``undo`` gets what undoes it."""
        run = UmlRunDir(spec.run_dir)
        run.create()
        undo.callback(run.remove)
        undo.callback(drop, spec.taps)
        with contextlib.ExitStack() as fds:
            program.check(spec.kernel, shares=bool(spec.shares))
            maps.enough_for(spec.name, spec.memory_mib)
            null, _, said = streams = stdio(run, fds)
            console = run.make_pipe(run.console)
            fds.callback(os.close, console)
            output = _output(run, new=True)
            undo.callback(output.close)
            wires = nics.wires(spec, run, fds)
            served = shares.serve_all(spec.shares, server, run.path, streams, fds, undo)
            ends = [*(wire.end for wire in wires), *(one.client for one in served)]
            try:
                (gate, process), networks = await both(
                    self._held(
                        spec, means, [*_handed(spec, run, fds), *ends], (null, console, said), fds, undo
                    ),
                    nics.serve(spec, wires, run, means, streams, fds, undo),
                )
            except ChildProcessError as error:
                raise ChildProcessError(last_line(output.stderr()) or str(error)) from error
            serving: list[Served] = [*networks, *served]
            record = self._recorded(spec, process, serving)
            run.write_record(record)
            beside = [one.process for one in serving]
            limit(spec.id, spec.limits or Limits(), MAX_TASKS, [process, *beside], undo)
            for one in serving:
                one.open_gate()
            await _answering(spec, served, output)
            gate.open()
        await nics.ready(spec, run, output)
        return UmlVM(record, process, output, self._resolver, beside)

    async def _held(
        self,
        spec: VMSpec,
        means: Means,
        inherited: Sequence[int],
        streams: tuple[int, int, int],
        fds: contextlib.ExitStack,
        undo: contextlib.AsyncExitStack,
    ) -> tuple[Gate, Process]:
        """The kernel at its gate; ``undo`` gets what ends it."""
        gate, process = await held(
            uml_argv(spec, plan_fds(spec), self._mode),
            environment={},
            rights=program.rights(spec.kernel, spec.owner_uid, self._mode, shares=bool(spec.shares)),
            means=means,
            stdio=streams,
            inherited=inherited,
            fds=fds,
        )
        undo.push_async_callback(helpers.end, process)
        return gate, process

    def _recorded(self, spec: VMSpec, process: Process, serving: Sequence[Served]) -> VMRecord:
        group, shared = cgroup.here().named(spec.id), VIRTIOFS if spec.shares else ""
        return recorded(self.name, spec, Accelerator.NATIVE, process, group, serving, shares=shared)


def _output(run: UmlRunDir, *, new: bool) -> Output:
    return Output(run, os.open(run.console, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), new=new)


def _handed(spec: VMSpec, run: UmlRunDir, fds: contextlib.ExitStack) -> list[int]:
    """In the order of ``plan_fds``, but for what the processes beside it have the other end of."""
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
    Units(run.units).write(
        [disk.serial for disk in spec.disks], [drive.serial for drive in spec.drives], spec.hotplug_slots
    )
    PluggedNics(run.nics, run.control).begin(spec)
    return inherited


async def _answering(spec: VMSpec, served: Sequence[shares.Serving], output: Output) -> None:
    """That the shares are served: the guest's kernel would wait for it, and not say for whom."""
    for one in served:
        if not await shares.answers(one):
            said = output.stderr()
            why = last_line(said) or f"nobody answers for {one.helper.name}"
            raise LaunchError(f"VM {spec.name} did not start: {why}", stderr=said)


def _unsaved(spec: VMSpec) -> NotSupported:
    return NotSupported(f"VM {spec.name}: a VM of User Mode Linux is neither saved nor cloned")
