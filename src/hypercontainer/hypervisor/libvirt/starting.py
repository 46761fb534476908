"""A launch, by these steps; each that is done stands on a stack of what undoes it:

1. the run directory, and in it a record of the domain that is going to be: from here on a later daemon finds it;
2. the processes behind the NICs, at their gates, where they end by themselves if we die;
3. the domain, which libvirt starts and holds before its first instruction;
4. the whole record, with QEMU's process and its helpers, and their cgroup;
5. disks and NICs, as descriptors of ours, by QEMU's monitor; then the VM goes on.

What libvirt makes of a call that nobody waits for any more is ended by the call's own thread, or swept away
(``greeting``): its run directory is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypercontainer.errors import (
    Conflict,
    HyperError,
    InvalidArgument,
    LaunchError,
    NotSupported,
    Unavailable,
)
from hypercontainer.hypervisor import helpers, jail, kvm, nics
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.ending import drop
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.launching import limit, stdio, words
from hypercontainer.hypervisor.libvirt import boot_files, greeting, pools, wires
from hypercontainer.hypervisor.libvirt.domain import MAX_SOCKET_BYTES, Plan, domain_xml, names, uuid_of
from hypercontainer.hypervisor.libvirt.greeting import Facts
from hypercontainer.hypervisor.libvirt.link import Link
from hypercontainer.hypervisor.libvirt.monitor import Monitor
from hypercontainer.hypervisor.libvirt.settings import Asked
from hypercontainer.hypervisor.libvirt.vm import LibvirtVM, reached
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.qemu import disks
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.driver import MAX_TASKS
from hypercontainer.hypervisor.qemu.machines import HEAD_BYTES
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Accelerator, Limits, VMSpec
from hypercontainer.linux import cgroup
from hypercontainer.linux.process import Identity, Process, boot_id, start_ticks
from hypercontainer.linux.waiting import both

CREATE_S = 60.0
UNDO_S = 10.0


@dataclass(frozen=True)
class Supplies:
    """What a driver has for its launches; ``state`` is its folder."""

    name: str
    asked: Asked
    state: Path
    link: Link[Facts]
    cache: FactCache
    resolver: Resolver
    binary: Binary


class Start:
    """Of one VM, whose specification is checked."""

    def __init__(self, spec: VMSpec, supplies: Supplies) -> None:
        self._spec, self._has = spec, supplies
        self._run = RunDir(spec.run_dir)
        self._uuid = uuid_of(spec.run_dir)
        self._monitor = Monitor(supplies.link, self._uuid)

    async def run(self) -> LibvirtVM:
        spec = self._spec
        _check(spec, self._run)
        async with contextlib.AsyncExitStack() as undo:
            try:
                vm = await self._start(undo)
            except Unavailable as error:
                raise LaunchError(
                    f"VM {spec.name}: {error.message}", hint=error.hint, remedies=error.remedies
                ) from error
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            except (LaunchError, NotSupported, Conflict):
                raise
            except HyperError as error:
                raise LaunchError(
                    f"VM {spec.name} did not start: {error.message}", hint=error.hint
                ) from error
            undo.pop_all()
        return vm

    async def _start(self, undo: contextlib.AsyncExitStack) -> LibvirtVM:
        spec, run, has = self._spec, self._run, self._has
        await has.link.greeting()  # before anything is made
        run.create()
        undo.callback(run.remove)
        undo.callback(drop, spec.taps)
        record = self._record()
        run.write_record(record)
        with contextlib.ExitStack() as fds:
            plan = await self._plan()
            means = await jail.means(has.cache)
            wired = nics.wires(spec, run, fds, existing=bool(has.asked.network))
            streams = stdio(run, fds)
            serving, process = await both(
                nics.serve(spec, wired, run, means, streams, fds, undo), self._created(plan, undo)
            )
            undo.push_async_callback(helpers.end, process)
            output = Output(run, (await reached(run.console)).detach(), new=True)
            undo.callback(output.close)
            record = replace(
                record,
                pid=process.pid,
                start_ticks=process.identity.start_ticks,
                boot_id=process.identity.boot_id,
                helpers=tuple(one.helper for one in serving),
            )
            run.write_record(record)
            beside = [one.process for one in serving]
            limit(spec.id, spec.limits or Limits(), MAX_TASKS, [process, *beside], undo)
            for one in serving:
                one.open_gate()
            for wire in wired:
                await wires.plug(self._monitor, spec.nics[wire.place], wire.place, wire.end)
            for disk in spec.disks:
                await disks.insert(self._monitor, disk)
        vm = LibvirtVM(record, has.link, process, beside, output, has.resolver)
        undo.push_async_callback(vm.kill)
        await vm.resume()
        await nics.ready(spec, run, output)
        return vm

    def _record(self) -> VMRecord:
        spec, has = self._spec, self._has
        return VMRecord(
            driver=has.name,
            id=spec.id,
            name=spec.name,
            run_dir=spec.run_dir,
            accelerator=spec.accelerator,
            foreign={"uuid": self._uuid, "uri": has.asked.uri},
            hotplug_slots=spec.hotplug_slots,
            cgroups=cgroup.here().named(spec.id).paths,
            taps=spec.taps,
            waits_for_room=spec.waits_for_room,
        )

    async def _plan(self) -> Plan:
        has = self._has
        folders = [has.state / "boot", boot_files.PUBLIC]
        if has.asked.pool and has.asked.system:
            folders = [await has.link.call(f"storage pool {has.asked.pool}", pools.folder_of(has.asked.pool))]
        kernel, initrd = await asyncio.to_thread(self._boot_files, folders)
        return Plan(has.binary, kernel, initrd, self._owner(), has.asked.machine, has.state)

    def _boot_files(self, folders: Sequence[Path]) -> tuple[Path, Path | None]:
        spec, has = self._spec, self._has
        with spec.kernel.open("rb") as file:
            if not has.binary.machine.is_kernel(file.read(HEAD_BYTES)):
                raise InvalidArgument(f"{spec.kernel} is no kernel that QEMU can boot")
        if spec.initrd is not None:
            spec.initrd.open("rb").close()
        if not has.asked.system:
            return spec.kernel, spec.initrd
        initrd = None if spec.initrd is None else boot_files.readable(spec.initrd, folders)
        return boot_files.readable(spec.kernel, folders), initrd

    def _owner(self) -> tuple[int, int] | None:
        spec = self._spec
        if spec.owner_uid is None or not self._has.asked.system:
            return None
        groups = kvm.groups_for_vm() if spec.accelerator is Accelerator.KVM else ()
        return spec.owner_uid, groups[0] if groups else spec.owner_uid

    async def _created(self, plan: Plan, undo: contextlib.AsyncExitStack) -> Process:
        """QEMU's process, of a domain that stands still; ``undo`` gets what ends it, also where this fails."""
        has, spec = self._has, self._spec
        given_up = threading.Event()

        def create(connection: Any) -> None:
            domain = greeting.create(
                connection, names(spec), lambda name: domain_xml(spec, plan, name), has.state
            )
            if given_up.is_set():
                domain.destroy()

        undo.push_async_callback(self._destroyed)
        undo.callback(given_up.set)
        await has.link.call("create", create, timeout_s=CREATE_S)
        return await _process(self._monitor)

    async def _destroyed(self) -> None:
        with contextlib.suppress(HyperError):
            await self._has.link.call(
                "destroy",
                lambda connection: greeting.destroy(connection, self._uuid, self._has.state),
                timeout_s=UNDO_S,
            )


async def _process(monitor: Monitor) -> Process:
    """The QEMU of a domain whose guest has not begun, by what it says of its processors' threads.

    Raises ``Unavailable`` where it is no process that this one sees.
    """
    answer = await monitor.execute("query-cpus-fast")
    first = answer[0] if isinstance(answer, Sequence) and answer else None
    thread = first.get("thread-id") if isinstance(first, Mapping) else None
    with contextlib.suppress(OSError, ValueError):
        status = Path(f"/proc/{int(str(thread))}/status").read_text(errors="replace")
        pid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Tgid:"))
        process = Process.open(Identity(pid, start_ticks(pid) or 0, boot_id()))
        if process is not None and monitor.uuid.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(
            b"\0"
        ):
            return process
    raise Unavailable(
        "the QEMU that libvirt has started is no process that hyperd sees",
        hint="hyperd and libvirtd are to run on one machine, and in one PID namespace",
    )


def _check(spec: VMSpec, run: RunDir) -> None:
    """What libvirt, or the kernel for it, does not take, and what such a VM has not."""
    for what, wanted in (
        ("drives", spec.drives),
        ("directories of the host", spec.shares),
        ("disks of the network", spec.remotes),
    ):
        if wanted:
            raise NotSupported(f"VM {spec.name}: one of libvirt's has no {what}")
    longest = max(len(os.fsencode(path)) for path in (run.agent, run.console))
    if longest > MAX_SOCKET_BYTES:
        raise InvalidArgument(
            f"run_dir {spec.run_dir}: too long for the sockets in it, which libvirt makes",
            hint="have hyperd's run directory at a shorter path",
        )
