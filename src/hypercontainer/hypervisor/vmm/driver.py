"""Starts VMs with Cloud Hypervisor or Firecracker, and finds them again.

A launch goes through the steps of ``qemu.driver``.  What is different is where the VM is described: on the command line
are descriptors alone, the rest is JSON, in a file that it is handed or over its socket.  ``Vmm`` is what is one's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hypercontainer.contract.devices import VSOCK
from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers, jail, nics, trial
from hypercontainer.hypervisor.driver import Capabilities, Check, Verdict, VMRecord
from hypercontainer.hypervisor.ending import destroyed, drop
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.helpers import Served
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.launching import (
    Gate,
    Launches,
    held,
    last_line,
    limit,
    recorded,
    stdio,
    whole,
    words,
)
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainDriver
from hypercontainer.hypervisor.programs import program_key
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.resources import quota_for
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.hypervisor.vmm import disks, doctor, probe, program, tapped, vsock
from hypercontainer.hypervisor.vmm import jail as vmm_jail
from hypercontainer.hypervisor.vmm.places import VmmRunDir
from hypercontainer.hypervisor.vmm.program import Program
from hypercontainer.hypervisor.vmm.tapped import Tapped
from hypercontainer.hypervisor.vmm.vm import VmmVM
from hypercontainer.hypervisor.vmm.vmm import Command, Vmm
from hypercontainer.hypervisor.whole import one_file
from hypercontainer.linux import cgroup
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import Process
from hypercontainer.linux.waiting import both

# A vCPU or an I/O thread each.
MAX_TASKS = 512
# Beside the guest's memory; an allowance, since neither was measured here.
OVERHEAD_MIB = 64


class VmmDriver(PlainDriver):
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64

    def __init__(self, name: str, vmm: Vmm, host: Host, *, binary: str = "") -> None:
        """``binary`` is a name in PATH or a path, "" the usual one."""
        self.name = name
        self._vmm = vmm
        self._binary = binary or vmm.program
        self._cache, self._state = FactCache(host.facts), host.state
        self._resolver = Resolver()
        self._launches: Launches[VmmVM] = Launches()

    def check_installed(self) -> None:
        program.find(self._binary, self._vmm)

    async def capabilities(self) -> Capabilities:
        found = await self._program()
        return Capabilities(
            self.name,
            found.version,
            frozenset({Accelerator.KVM}),
            plugs=False,
            devices=VSOCK,
            line=vsock.ADDRESS,
            nics=self._vmm.nics,
            grows=False,
            sandbox=True,
            confinement=jail.words(await jail.means(self._cache)),
            not_limited=cgroup.here().not_limited,
        )

    async def _program(self) -> Program:
        path = program.find(self._binary, self._vmm)
        key = f"{self._vmm.program} {program_key(path)}"
        return await self._cache.learned(key, Program, partial(program.inspect, path, self._vmm))

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        if accelerator is not Accelerator.KVM:
            return Verdict(accelerator, usable=False, reason=f"{self._vmm.title} runs guests by KVM alone")
        found = await self._program()
        with trial.of_kernel(kernel):
            key = probe.verdict_key(found, kernel)

        async def ask() -> Verdict:
            return await probe.probe(self._vmm, found, await self._means(), kernel)

        return await self._cache.learned(key, Verdict, ask, refresh=refresh)

    async def _means(self) -> Means:
        means = await jail.means(self._cache)
        if not means.namespaces:
            raise Unavailable(
                f"{self._vmm.title} opens files by their names, and is not run without a root of its own",
                hint=f"{means.reason}: {jail.NAMESPACES_HINT}",
            )
        return means

    async def diagnose(self) -> list[Check]:
        return await doctor.diagnose(self, self._vmm.title)

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        return Limits((memory_mib + OVERHEAD_MIB << 20) + boot_files_bytes, quota_for(cpus))

    async def launch(self, spec: VMSpec) -> VmmVM:
        check_spec(spec)
        self._check(spec)
        return await self._launches.run(self._launch(spec), spec.id)

    async def _check_kvm(self, kernel: Path) -> None:
        """``Unavailable`` where it does not boot this kernel, which is known but for the first time."""
        verdict = await self.probe(Accelerator.KVM, kernel)
        if not verdict.usable:
            raise Unavailable(f"KVM is not usable: {verdict.reason}", hint=disks.HINT)

    def _check(self, spec: VMSpec) -> None:
        """``NotSupported`` for what such a VM cannot have."""
        title = self._vmm.title
        lacking = {
            "directories of the host": spec.shares,
            "disks of the network": spec.remotes,
            "drives": spec.drives,
            f"VMs of more than {self._vmm.most_vcpus} processors": spec.vcpus > self._vmm.most_vcpus,
            "networks of their own": bool(spec.taps) and self._vmm.enters,
        }
        for what, wanted in lacking.items():
            if wanted:
                raise NotSupported(f"VM {spec.name}: {title} has no {what} here", hint=disks.HINT)
        disks.check(spec.disks, title)

    async def launch_to_save(self, spec: VMSpec) -> VmmVM:
        self._refuse("VMs that are saved")

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> VmmVM:
        self._refuse("VMs that are saved")

    async def adopt(self, record: VMRecord) -> VmmVM | None:
        found = helpers.taken_up(record)
        if found is None:
            # Nothing but what was left of it, or a guest without its network.
            await self.destroy(record)
            return None
        process, *serving = found
        with contextlib.ExitStack() as undo:
            for one in found:
                undo.callback(one.close)
            try:
                output = _output(VmmRunDir(record.run_dir), new=False)
                undo.callback(output.close)
                vm = VmmVM(record, self._vmm, process, output, self._resolver, serving)
            except OSError as error:
                raise HypervisorError(f"VM {record.name}: it cannot be reached: {error}") from error
            undo.pop_all()
        return vm

    async def destroy(self, record: VMRecord) -> None:
        await asyncio.to_thread(tapped.drop, VmmRunDir(record.run_dir))
        await destroyed(record)

    async def _launch(self, spec: VMSpec) -> VmmVM:
        async with contextlib.AsyncExitStack() as undo:
            try:
                found, means = await self._program(), await self._means()
                await self._check_kvm(spec.kernel)
                spec = replace(spec, disks=await asyncio.to_thread(self._whole, spec.disks))
                vm, taps = await self._start(spec, found, means, undo)
            except Unavailable as error:
                raise LaunchError(f"VM {spec.name}: {error.message}", hint=error.hint) from error
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            undo.push_async_callback(vm.kill)
            try:
                await vm.begin(spec, taps)
            finally:
                for tap in taps:
                    os.close(tap)
            await nics.ready(spec, VmmRunDir(spec.run_dir), vm.output)
            undo.pop_all()
        return vm

    def _whole(self, disks: Sequence[DiskSpec]) -> tuple[DiskSpec, ...]:
        return tuple(one_file(disk, self._state / "whole") for disk in disks)

    async def _start(
        self, spec: VMSpec, found: Program, means: Means, undo: contextlib.AsyncExitStack
    ) -> tuple[VmmVM, list[int]]:
        """Up to the gates' opening; the descriptors are taps, which are the caller's.  ``undo`` gets what undoes it."""
        run = VmmRunDir(spec.run_dir)
        run.create()
        undo.callback(run.remove)
        undo.callback(drop, spec.taps)
        run.write_record(self._begun(spec))
        run.make_sockets(spec.owner_uid)
        with contextlib.ExitStack() as fds:
            null, _, said = streams = stdio(run, fds)
            console = run.make_pipe(run.console)
            fds.callback(os.close, console)
            output = _output(run, new=True)
            undo.callback(output.close)
            locked = disks.held(spec.disks, fds)
            command = self._vmm.command(found.path, spec, run, fds)
            network = await whole(tapped.made, spec, run, fds, undo, by_name=self._vmm.enters)
            try:
                (gate, process), networks = await both(
                    self._held(
                        spec, found, means, command, locked, network, (null, console, said), fds, undo
                    ),
                    nics.serve(spec, network.wires, run, means, streams, fds, undo),
                )
            except ChildProcessError as error:
                raise ChildProcessError(last_line(output.stderr()) or str(error)) from error
            serving: list[Served] = [*network.keepers, *networks]
            group = cgroup.here().named(spec.id)
            record = recorded(self.name, spec, Accelerator.KVM, process, group, serving)
            run.write_record(record)
            beside = [one.process for one in serving]
            limit(spec.id, spec.limits or Limits(), MAX_TASKS, [process, *beside], undo)
            for one in serving:
                one.open_gate()
            gate.open()
            vm = VmmVM(record, self._vmm, process, output, self._resolver, beside)
            return vm, [os.dup(end) for end in tapped.ends(network)]

    def _begun(self, spec: VMSpec) -> VMRecord:
        """By which a namespace is found of whoever was killed before there was a process: its keeper has no gate."""
        group = cgroup.here().named(spec.id)
        return VMRecord(
            self.name, spec.id, spec.name, spec.run_dir, Accelerator.KVM, cgroups=group.paths, taps=spec.taps
        )

    async def _held(
        self,
        spec: VMSpec,
        found: Program,
        means: Means,
        command: Command,
        locked: Sequence[int],
        network: Tapped,
        streams: tuple[int, int, int],
        fds: contextlib.ExitStack,
        undo: contextlib.AsyncExitStack,
    ) -> tuple[Gate, Process]:
        """The process at its gate; ``undo`` gets what ends it.  It has the disks' descriptors for their locks alone."""
        space = network.space if self._vmm.enters else None
        plain = vmm_jail.rights_of_program(
            found.files, self._vmm.devices, reopened=command.reopened, network=space is not None
        )
        more: dict[str, Any] = vmm_jail.rights_of_vm(spec, VmmRunDir(spec.run_dir))
        gate, process = await held(
            command.argv,
            environment={},
            rights=replace(plain, **more),
            means=means,
            stdio=streams,
            inherited=[*command.inherited, *locked],
            fds=fds,
            space=space,
        )
        undo.push_async_callback(helpers.end, process)
        return gate, process


def _output(run: VmmRunDir, *, new: bool) -> Output:
    return Output(run, os.open(run.console, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), new=new)
