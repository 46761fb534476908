"""Starts VMs with QEMU and finds them again.

A launch goes through these steps, and each one that is done stands on a stack of what undoes it:

1. the run directory, the sockets QEMU will listen on, the console's ring, the pipe for its last words;
2. QEMU's process, waiting at the gate of ``linux.confine``, where it ends by itself if we die;
3. the record of it on disk: from here on, whatever happens to us, a later daemon finds all there is to find;
4. its cgroup, with the process in it;
5. the gate opened, and QMP answering, which it does once QEMU has built the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers, jail, nics, remote_disks, shares
from hypercontainer.hypervisor.driver import Capabilities, Check, Lan, Verdict, VMRecord
from hypercontainer.hypervisor.ending import clean, destroyed, drop
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.helpers import Served
from hypercontainer.hypervisor.launching import Gate, Launches, held, last_line, limit, recorded, stdio, words
from hypercontainer.hypervisor.programs import program_key
from hypercontainer.hypervisor.qemu import binary as binaries
from hypercontainer.hypervisor.qemu import doctor, probe
from hypercontainer.hypervisor.qemu.argv import Role, plan_fds, qemu_argv
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.handed import BOOT, Command, Origin, Programs, command
from hypercontainer.hypervisor.qemu.jail import PRIVATE_MEMORY
from hypercontainer.hypervisor.qemu.machines import MACHINES
from hypercontainer.hypervisor.qemu.overhead import overhead_bytes
from hypercontainer.hypervisor.qemu.qmp import QmpClient, QmpDisconnected
from hypercontainer.hypervisor.qemu.saving import own_offset
from hypercontainer.hypervisor.qemu.vm import QemuVM, Watch
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.resources import quota_for
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot, memory_file
from hypercontainer.hypervisor.spec import HARDWARE, Accelerator, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec, check_unshared
from hypercontainer.linux import cgroup
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.cgroup import Cgroup
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import Process
from hypercontainer.linux.waiting import both, whole

QEMU = "qemu"
LAUNCH_TIMEOUT_S = 30.0
ADOPT_TIMEOUT_S = 10.0
# A process that has lost its control connection is dying; this is how long it may take before it is helped.
_DYING_TIMEOUT_S = 5.0
# A vCPU, an I/O thread or a signal handler each; QEMU's pool for disk requests has 64 at most.
MAX_TASKS = 512


@dataclass(frozen=True)
class Started:
    """A QEMU that runs and has not answered yet."""

    argv: tuple[str, ...]
    record: VMRecord
    process: Process
    watch: Watch
    helpers: tuple[Process, ...]


class QemuDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    def __init__(
        self,
        cache: Path,
        *,
        architecture: str = AMD64,
        binary: str = "",
        uids: range = range(0),
    ) -> None:
        """``cache`` is the file of what was found out about the host; ``binary`` a name in PATH or a path, "" the usual
        one for machines of this ``architecture``; ``uids`` are the ones that VMs will be given, for `diagnose`."""
        self._cache = FactCache(cache)
        self.machine = MACHINES[architecture]
        self.architecture = architecture
        self.name = QEMU if architecture == AMD64 else f"{QEMU}-{architecture}"
        self._name = binary or self.machine.program
        self.uids = uids
        self._resolver = Resolver()
        self._launches: Launches[QemuVM] = Launches()

    def check_installed(self) -> None:
        binaries.find(self._name, self.machine)

    async def capabilities(self) -> Capabilities:
        binary = await self._binary()
        return Capabilities(
            self.name,
            binary.version,
            binary.accelerators,
            sandbox=binary.sandbox,
            confinement=jail.words(await jail.means(self._cache)),
            templates=PRIVATE_MEMORY.is_file() and self.machine.clones,
            drives=True,
            plugs=self.machine.plugs,
            memory_step_mib=self.machine.memory_step_mib,
            formats=True,
            remotes=remote_disks.is_there(),
            shares=(await self.probe_shares()).filesystem,
            together=bool((await shares.probe_together(self._cache)).filesystem),
            not_limited=cgroup.here().not_limited,
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        return await probe.verdict(await self._binary(), self._cache, accelerator, kernel, refresh=refresh)

    async def probe_jail(self, *, refresh: bool = False) -> Means:
        """As ``probe``, of what shuts QEMU in."""
        return await jail.means(self._cache, refresh=refresh)

    async def probe_shares(self, *, refresh: bool = False) -> shares.Usable:
        """As ``probe``, of what serves a share."""
        return await shares.probe(self._cache, refresh=refresh)

    async def diagnose(self) -> list[Check]:
        together = await shares.probe_together(self._cache, refresh=True)
        found = await doctor.diagnose(self, self._name, self.machine)
        return [*found, shares.check_together(together)]

    async def lan(self) -> Lan:
        raise NotSupported("QEMU has no network of its own")

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        beside = overhead_bytes(
            accelerator, memory_mib=memory_mib, boot_files_bytes=boot_files_bytes, shares=shares
        )
        return Limits(memory_bytes=(memory_mib << 20) + beside, cpus=quota_for(cpus))

    async def launch(self, spec: VMSpec) -> QemuVM:
        check_spec(spec)
        return await self._launched(spec, BOOT)

    async def fingerprint(self, spec: VMSpec) -> str:
        binary = await self._binary()
        # The rate of the time stamp counter is measured, a little different each time; a saved guest refined it.
        arguments = tuple(word for word in spec.kernel_args if not word.startswith("tsc_early_khz="))
        plain = replace(spec.as_seen(), id="template", name="template", kernel_args=arguments)
        argv = qemu_argv(binary, plain, plan_fds(plain, Role.SAVE), Role.SAVE)
        processor = probe.cpu_model() if spec.accelerator in HARDWARE else ""
        return "\0".join([binary.key, binary.version, processor, *argv, *map(repr, plain.nics)])

    async def launch_to_save(self, spec: VMSpec) -> QemuVM:
        check_spec(spec)
        check_unshared(spec)
        size_bytes = spec.memory_mib << 20
        return await self._launched(spec, Origin(Role.SAVE, memory_file("memory", size_bytes)))

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> QemuVM:
        check_spec(spec)
        check_unshared(spec)
        if os.fstat(snapshot.memory_fd).st_size != spec.memory_mib << 20:
            raise Unavailable(f"VM {spec.name} cannot be cloned: another size of memory was saved")
        return await self._launched(spec, Origin(Role.CLONE, os.dup(snapshot.memory_fd), snapshot.state_fd))

    async def _launched(self, spec: VMSpec, origin: Origin) -> QemuVM:
        """Of a specification that is checked."""
        return await self._launches.run(self._launch(spec, origin), spec.id)

    async def adopt(self, record: VMRecord) -> QemuVM | None:
        found = helpers.taken_up(record)
        if found is None:
            # Nothing but what was left of it, or a guest without its network or its files.
            await self.destroy(record)
            return None
        process, *serving = found
        run = RunDir(record.run_dir)
        async with contextlib.AsyncExitStack() as undo:
            for one in found:
                undo.callback(one.close)
            try:
                watch = Watch(run, self._resolver, self.machine.bus, new=False)
                undo.push_async_callback(watch.close)
                qmp = await QmpClient.connect(run.qmp, watch.on_event, timeout_s=ADOPT_TIMEOUT_S)
            except (OSError, QmpDisconnected) as error:
                if await helpers.ends(process):
                    await helpers.end_all(record)
                    clean(run, record)
                    return None
                raise HypervisorError(f"VM {record.name}: its QEMU cannot be reached: {error}") from error
            undo.pop_all()
        return QemuVM(record, process, watch, qmp, serving)

    async def destroy(self, record: VMRecord) -> None:
        await destroyed(record)

    async def _binary(self) -> Binary:
        path = binaries.find(self._name, self.machine)
        key = f"program {program_key(path)}"
        return await self._cache.learned(key, Binary, partial(binaries.inspect, path, self.machine))

    async def _launch(self, spec: VMSpec, origin: Origin) -> QemuVM:
        async with contextlib.AsyncExitStack() as undo:
            if origin.memory_fd is not None:
                undo.callback(os.close, origin.memory_fd)
            try:
                server = await shares.find_all(self._cache, spec.shares)
                programs = Programs(await self._binary(), await jail.means(self._cache), server)
            except Unavailable as error:
                raise LaunchError(
                    f"VM {spec.name}: {error.message}",
                    command=[self._name],
                    hint=error.hint,
                    remedies=error.remedies,
                ) from error
            try:
                started = await self._start(spec, programs, origin, undo)
            except Unavailable as error:
                raise LaunchError(f"VM {spec.name}: {error.message}", hint=error.hint) from error
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            qmp = await self._answering(spec, started, origin.role)
            undo.push_async_callback(qmp.close)
            await nics.ready(spec, RunDir(spec.run_dir), started.watch.output)
            undo.pop_all()
        return await _made(origin, started, qmp)

    async def _start(
        self, spec: VMSpec, programs: Programs, origin: Origin, undo: contextlib.AsyncExitStack
    ) -> Started:
        """Steps 1 to 4, and the gates opened; ``undo`` gets what undoes them."""
        run = RunDir(spec.run_dir)
        run.create()
        undo.callback(run.remove)
        undo.callback(drop, spec.taps)
        with contextlib.ExitStack() as fds:
            kind = socket.SOCK_SEQPACKET if programs.qemu.datagrams else socket.SOCK_DGRAM
            wires = nics.wires(spec, run, fds, kind)
            made = command(spec, programs, run, origin, [wire.end for wire in wires], fds)
            streams = stdio(run, fds)
            watch = Watch(run, self._resolver, self.machine.bus, new=True)
            undo.push_async_callback(watch.close)
            served = shares.serve_all(spec.shares, programs.server, run.path, streams, fds, undo)
            try:
                remotes = await remote_disks.serve_all(spec, run, programs.means, streams, fds, undo)
                clients = [*(one.client for one in served), *(one.client.fileno() for one in remotes)]
                (gate, process), networks = await both(
                    _held(made, clients, programs.means, streams, fds, undo),
                    nics.serve(spec, wires, run, programs.means, streams, fds, undo),
                )
            except ChildProcessError as error:
                raise ChildProcessError(last_line(watch.output.stderr()) or str(error)) from error
            serving: list[Served] = [*networks, *served, *remotes]
            group = cgroup.here().named(spec.id)
            record = recorded(
                self.name, spec, spec.accelerator, process, group, serving, shares=programs.shares
            )
            run.write_record(record)
            processes = [process, *(one.process for one in serving)]
            limit(spec.id, spec.limits or Limits(), MAX_TASKS, processes, undo)
            for one in serving:
                one.open_gate()
            await remote_disks.answering(spec, remotes, watch.output)
            gate.open()
        return Started(made.argv, record, process, watch, tuple(one.process for one in serving))

    async def _answering(self, spec: VMSpec, started: Started, role: Role) -> QmpClient:
        """Step 5.  Raises ``LaunchError`` with all that QEMU and the guest have said."""
        run = RunDir(spec.run_dir)
        try:
            qmp = await QmpClient.connect(run.qmp, started.watch.on_event, timeout_s=LAUNCH_TIMEOUT_S)
            if role is not Role.CLONE:
                await qmp.execute("cont")
            return qmp
        except QmpDisconnected:
            problem = "QEMU ended before it ran the guest"
        except HypervisorError as error:
            problem = error.message
            started.process.kill()
        code: int | None = None
        try:
            async with asyncio.timeout(_DYING_TIMEOUT_S):
                code = await started.process.wait()
        except TimeoutError:
            problem = "QEMU lost its control connection and is stuck"
        if Cgroup(started.record.cgroups).oom_killed():
            problem = "QEMU needed more memory than its limit"
        await started.watch.output.finish()
        stderr, console = started.watch.output.stderr(), started.watch.output.console()
        said = last_line(stderr) or last_line(console)
        raise LaunchError(
            f"VM {spec.name} did not start: {problem}" + (f": {said}" if said else ""),
            command=started.argv,
            exit_code=code,
            stderr=stderr,
            console=console,
        )


async def _held(
    made: Command,
    clients: Sequence[int],
    means: Means,
    streams: tuple[int, int, int],
    fds: contextlib.ExitStack,
    undo: contextlib.AsyncExitStack,
) -> tuple[Gate, Process]:
    """QEMU at its gate; ``clients`` are the ends of its shares and remote disks, ``undo`` gets what ends it."""
    gate, process = await held(
        made.argv,
        environment=made.environment,
        rights=made.rights,
        means=means,
        stdio=streams,
        inherited=[*made.inherited, *clients],
        fds=fds,
    )
    undo.push_async_callback(helpers.end, process)
    return gate, process


async def _made(origin: Origin, started: Started, qmp: QmpClient) -> QemuVM:
    parts = (started.record, started.process, started.watch, qmp, started.helpers)
    if origin.role is Role.BOOT or origin.memory_fd is None:
        return QemuVM(*parts)
    if origin.role is Role.SAVE:
        return QemuVM.to_save(*parts, origin.memory_fd)
    os.close(origin.memory_fd)
    vm = QemuVM(*parts)
    state_fd = own_offset(origin.state_fd)
    try:
        await vm.load(state_fd)
    except BaseException as error:
        vm_exit = await whole(vm.kill())
        if not isinstance(error, HypervisorError):
            raise
        if vm_exit.from_outside:
            raise HypervisorError(f"VM {started.record.id} was killed: {error.message}") from error
        raise Unavailable(f"cannot be cloned: {error.message}", hint=vm_exit.stderr) from error
    finally:
        os.close(state_fd)
    return vm
