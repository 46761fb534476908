"""Starts domains of Xen from its dom0, and finds them again.

A launch writes down which UUID the domain will have, has xl create it standing still, writes its devices into Xen's
store, lets it run, and marks it as one that runs.  Whatever ends this process on the way, what the record names is
found by its UUID and removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from hypercontainer.contract.devices import XEN
from hypercontainer.errors import HypervisorError, InvalidArgument, LaunchError, Unavailable
from hypercontainer.hypervisor import helpers, jail, nics
from hypercontainer.hypervisor.driver import Capabilities, Check, Verdict, VMRecord
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.launching import Launches, stdio, whole, words
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainDriver
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import Accelerator, Existing, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.hypervisor.xen import blocks, devices, domains, host, vifs, xl
from hypercontainer.hypervisor.xen.config import CONSOLE, LINE, Mode, create_arguments, domain_name, xl_config
from hypercontainer.hypervisor.xen.places import XenRunDir
from hypercontainer.hypervisor.xen.store import Store
from hypercontainer.hypervisor.xen.vm import XenVM
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.process import Process

CONSOLE_S = 20.0


class XenDriver(PlainDriver):
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64

    def __init__(self, name: str, facts: Path, mode: Mode | None = None) -> None:
        """``facts`` is the file of what was found out; ``mode``: None is the best that the processor has."""
        self.name = name
        self._facts = FactCache(facts)
        self._mode = mode
        self._resolver = Resolver()
        self._listing = xl.Listing()
        self._launches: Launches[XenVM] = Launches()

    def check_installed(self) -> None:
        host.check()

    async def capabilities(self) -> Capabilities:
        self.check_installed()
        return Capabilities(
            self.name,
            host.version(),
            frozenset({Accelerator.OWN}),
            plugs=False,
            devices=XEN,
            console=CONSOLE,
            line=LINE,
            grows=False,
            sandbox=True,
            confinement=("a domain of Xen",),
            not_limited=("disks' and networks' work in dom0",),
        )

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        if accelerator is not Accelerator.OWN:
            return Verdict(accelerator, usable=False, reason="Xen runs its guests by means of its own")
        try:
            self.check_installed()
        except Unavailable as error:
            return Verdict(accelerator, usable=False, reason=error.message)
        return Verdict(accelerator, usable=True, reason=f"this is a dom0 of Xen {host.version()}")

    async def diagnose(self) -> list[Check]:
        return host.diagnose()

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        """Xen gives a domain its memory, and no more; what is done beside it is done by dom0."""
        return Limits(memory_bytes=None, cpus=cpus)

    async def launch(self, spec: VMSpec) -> XenVM:
        check_spec(spec)
        self._check_able(spec)
        self.check_installed()
        return await self._launches.run(self._launch(spec), spec.id)

    def _check_able(self, spec: VMSpec) -> None:
        lacking = {
            "disks of the network": spec.remotes,
            "directories of the host": spec.shares,
            "drives": spec.drives,
            "networks that exist": [nic for nic in spec.nics if isinstance(nic.backend, Existing)],
        }
        for what, wanted in lacking.items():
            if wanted:
                self._refuse(what)

    async def launch_to_save(self, spec: VMSpec) -> XenVM:
        self._refuse("VMs that are saved")

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> XenVM:
        self._refuse("VMs that are saved")

    async def adopt(self, record: VMRecord) -> XenVM | None:
        await self._created(record)
        async with contextlib.AsyncExitStack() as undo:
            store = await Store.open()
            undo.push_async_callback(store.close)
            serving = [process for process in helpers.held(record) if process is not None]
            for process in serving:
                undo.callback(process.close)
            domain = await self._ours(record, store)
            if domain is not None and len(serving) == len(record.helpers):
                output = await self._output(record, domain, store, new=False)
                undo.pop_all()
                return self._vm(record, domain, store, output, serving)
        await self.destroy(record)
        return None

    async def _ours(self, record: VMRecord, store: Store) -> int | None:
        """The record's domain, where it is one that a launch has finished."""
        ours = record.foreign[domains.UUID]
        domain = await domains.find(store, ours)
        if domain is None or await store.read(domains.mark(ours)) != record.id:
            return None
        found = await self._listing.find(ours)
        return domain if found is not None and not found.gone else None

    async def destroy(self, record: VMRecord) -> None:
        run = XenRunDir(record.run_dir)
        await self._created(record)
        store = await Store.open()
        try:
            domain = await domains.find(store, record.foreign[domains.UUID])
            await domains.remove(record, store, self._listing, domain)
        finally:
            await store.close()
        await helpers.end_all(record)
        await asyncio.to_thread(vifs.drop_spaces, run)
        run.remove()

    async def _created(self, record: VMRecord) -> None:
        """Returns once no xl is at work on it, which whoever has been killed may have left."""
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(XenRunDir(record.run_dir).creating, os.O_RDONLY | os.O_CLOEXEC)
            try:
                async with asyncio.timeout(xl.CREATE_S):
                    await asyncio.to_thread(fcntl.flock, fd, fcntl.LOCK_EX)
            finally:
                os.close(fd)

    async def _launch(self, spec: VMSpec) -> XenVM:
        run, record = XenRunDir(spec.run_dir), self._record(spec, str(uuid.uuid4()))
        async with contextlib.AsyncExitStack() as undo:
            try:
                store = await Store.open()
                undo.push_async_callback(store.close)
                run.create()
                undo.push_async_callback(self.destroy, record)
                vm = await self._begun(spec, record, run, store, undo)
            except (OSError, InvalidArgument) as error:
                raise LaunchError(f"VM {spec.name} cannot be started: {words(error)}") from error
            undo.pop_all()
        return vm

    async def _begun(
        self, spec: VMSpec, record: VMRecord, run: XenRunDir, store: Store, undo: contextlib.AsyncExitStack
    ) -> XenVM:
        """``undo`` gets what ends the processes beside it; whoever destroys what is in the record undoes the rest."""
        ours = record.foreign[domains.UUID]
        run.write_record(record)
        run.config.write_text(xl_config(spec, ours, self._mode or host.best()))
        with contextlib.ExitStack() as fds:
            streams = stdio(run, fds)
            disks = await whole(_attached, spec)
            wires = await whole(vifs.wires, spec, run, fds)
            means = await jail.means(self._facts)
            serving = await nics.serve(spec, wires, run, means, streams, fds, undo)
            if serving:
                boot = serving[0].process.identity.boot_id
                record = replace(record, boot_id=boot, helpers=tuple(one.helper for one in serving))
                run.write_record(record)
            for one in serving:
                one.open_gate()
            await self._create(spec, run)
            domain = await domains.find(store, ours)
            if domain is None:
                raise LaunchError(f"VM {spec.name} did not start: its domain is gone already")
            for device in (devices.line(domain), *(disk(domain) for disk in disks)):
                await domains.make(store, device, ours)
            await self._connect(spec, record, domain, run, store)
            output = await self._output(record, domain, store, new=True)
            undo.callback(output.close)
            await nics.ready(spec, run, output)
            await xl.do("unpause", str(domain))
            await store.write(domains.mark(ours), spec.id)
        return self._vm(record, domain, store, output, [one.process for one in serving])

    async def _connect(
        self, spec: VMSpec, record: VMRecord, domain: int, run: XenRunDir, store: Store
    ) -> None:
        """Its network interfaces."""
        for place, nic in enumerate(spec.nics):
            device = devices.nic(domain, place, nic.mac)
            await domains.make(store, device, record.foreign[domains.UUID])
            name = devices.interface(domain, place)
            await vifs.appeared(name)
            await whole(vifs.put, spec, run, place, name)
            where, placed = devices.PLACED
            await store.write(f"{device.back_path}/{where}", placed)

    async def _create(self, spec: VMSpec, run: XenRunDir) -> None:
        """The xl is waited for by whoever comes after a killed one: it has the lock."""
        fd = os.open(run.creating, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            arguments = create_arguments(str(run.config))
            code, said = await xl.run(*arguments, timeout_s=xl.CREATE_S, kept=[fd])
        finally:
            os.close(fd)
        if code:
            raise xl.refused(domain_name(spec), spec.memory_mib, code, said)

    async def _output(self, record: VMRecord, domain: int, store: Store, *, new: bool) -> Output:
        tty = await store.until_there(f"{domains.DOMAINS}/{domain}/console/tty", CONSOLE_S)
        if tty is None:
            raise HypervisorError(
                f"VM {record.name}: xenconsoled gives it no console", hint="does xenconsoled run?"
            )
        try:
            fd = os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            return Output(XenRunDir(record.run_dir), fd, new=new)
        except OSError as error:
            raise HypervisorError(f"VM {record.name}: its console cannot be read: {error}") from error

    def _vm(
        self, record: VMRecord, domain: int, store: Store, output: Output, serving: Sequence[Process]
    ) -> XenVM:
        return XenVM(record, domain, store, self._listing, output, self._resolver, serving)

    def _record(self, spec: VMSpec, ours: str) -> VMRecord:
        return VMRecord(
            driver=self.name,
            id=spec.id,
            name=spec.name,
            run_dir=spec.run_dir,
            accelerator=Accelerator.OWN,
            foreign={domains.UUID: ours},
            taps=spec.taps,
            waits_for_room=False,
        )


def _attached(spec: VMSpec) -> list[partial[devices.Device]]:
    """The disks, as devices of a domain that is yet to be.  Blocks."""
    return [
        partial(devices.disk, place=place, device=blocks.attach(spec.id, disk), read_only=disk.read_only)
        for place, disk in enumerate(spec.disks)
    ]
