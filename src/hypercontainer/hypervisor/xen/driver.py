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
from functools import partial
from pathlib import Path

from hypercontainer.contract.devices import XEN
from hypercontainer.errors import HypervisorError, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor.driver import Capabilities, Check, Lan, Verdict, VMRecord
from hypercontainer.hypervisor.launching import Launches
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.resources import quota_for
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import Accelerator, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.hypervisor.xen import blocks, devices, domains, host, xl
from hypercontainer.hypervisor.xen.config import CONSOLE, LINE, Mode, create_arguments, domain_name, xl_config
from hypercontainer.hypervisor.xen.places import XenRunDir
from hypercontainer.hypervisor.xen.store import Store
from hypercontainer.hypervisor.xen.vm import XenVM
from hypercontainer.linux.architectures import AMD64

CONSOLE_S = 20.0


class XenDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64

    def __init__(self, name: str = "xen", mode: Mode | None = None) -> None:
        """``mode``: None is the best that the processor has."""
        self.name = name
        self._mode = mode
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
            nics=frozenset(),
            live_ports=False,
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

    async def lan(self) -> Lan:
        raise NotSupported("VMs of Xen have no network of its own here")

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        """Xen gives a domain its memory, and no more."""
        return Limits(memory_bytes=None, cpus=quota_for(cpus))

    async def fingerprint(self, spec: VMSpec) -> str:
        return xl_config(spec.as_seen(), "", self._mode or host.best())

    async def launch(self, spec: VMSpec) -> XenVM:
        check_spec(spec)
        _check_able(spec)
        self.check_installed()
        return await self._launches.run(self._launch(spec), spec.id)

    async def launch_to_save(self, spec: VMSpec) -> XenVM:
        raise _unsaved(spec)

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> XenVM:
        raise _unsaved(spec)

    async def adopt(self, record: VMRecord) -> XenVM | None:
        await self._created(record)
        store = await Store.open()
        try:
            ours, wanted = record.foreign[domains.UUID], record.id
            domain = await domains.find(store, ours)
            if domain is not None and await store.read(domains.mark(ours)) == wanted:
                found = await self._listing.find(ours)
                if found is not None and not found.gone:
                    return await self._taken(record, domain, store, new=False)
        except BaseException:
            await store.close()
            raise
        await store.close()
        await self.destroy(record)
        return None

    async def destroy(self, record: VMRecord) -> None:
        await self._created(record)
        store = await Store.open()
        try:
            domain = await domains.find(store, record.foreign[domains.UUID])
            await domains.remove(record, store, self._listing, domain)
        finally:
            await store.close()
        XenRunDir(record.run_dir).remove()

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
        run, mode = XenRunDir(spec.run_dir), self._mode or host.best()
        record = self._record(spec, str(uuid.uuid4()))
        store = await Store.open()
        try:
            run.create()
            try:
                return await self._begun(spec, record, run, mode, store)
            except BaseException:
                await asyncio.shield(self.destroy(record))
                raise
        except OSError as error:
            await store.close()
            raise LaunchError(
                f"VM {spec.name} cannot be started: {error.filename}: {error.strerror}"
            ) from error
        except BaseException:
            await store.close()
            raise

    async def _begun(self, spec: VMSpec, record: VMRecord, run: XenRunDir, mode: Mode, store: Store) -> XenVM:
        ours = record.foreign[domains.UUID]
        run.write_record(record)
        run.config.write_text(xl_config(spec, ours, mode))
        os.close(run.make_pipe(run.stderr))
        disks = await asyncio.to_thread(_attached, spec)
        await self._create(spec, run)
        domain = await domains.find(store, ours)
        if domain is None:
            raise LaunchError(f"VM {spec.name} did not start: its domain is gone already")
        for device in (devices.line(domain), *(partial_device(domain) for partial_device in disks)):
            await domains.make(store, device)
        vm = await self._taken(record, domain, store, new=True)
        try:
            await xl.do("unpause", str(domain))
            await store.write(domains.mark(ours), spec.id)
        except BaseException:
            await vm.close()
            raise
        return vm

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

    async def _taken(self, record: VMRecord, domain: int, store: Store, *, new: bool) -> XenVM:
        run = XenRunDir(record.run_dir)
        tty = await store.until_there(f"{domains.DOMAINS}/{domain}/console/tty", CONSOLE_S)
        if tty is None:
            raise HypervisorError(
                f"VM {record.name}: xenconsoled gives it no console", hint="does xenconsoled run?"
            )
        try:
            output = Output(
                run, os.open(tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC), new=new
            )
        except OSError as error:
            raise HypervisorError(f"VM {record.name}: its console cannot be read: {error}") from error
        return XenVM(record, domain, store, self._listing, output)

    def _record(self, spec: VMSpec, ours: str) -> VMRecord:
        return VMRecord(
            driver=self.name,
            id=spec.id,
            name=spec.name,
            run_dir=spec.run_dir,
            accelerator=Accelerator.OWN,
            foreign={domains.UUID: ours},
            waits_for_room=False,
        )


def _attached(spec: VMSpec) -> list[partial[devices.Device]]:
    """The disks, as devices of a domain that is yet to be.  Blocks."""
    return [
        partial(devices.disk, place=place, device=blocks.attach(spec.id, disk), read_only=disk.read_only)
        for place, disk in enumerate(spec.disks)
    ]


def _check_able(spec: VMSpec) -> None:
    lacking = [
        (spec.remotes, "no disks of the network"),
        (spec.shares, "no directories of the host"),
        (spec.drives, "no drives for disks that come later"),
        (spec.nics, "no network interfaces"),
    ]
    for wanted, words in lacking:
        if wanted:
            hint = "run it on QEMU: hypervisor qemu"
            raise NotSupported(f"VM {spec.name}: a VM of Xen has {words} here", hint=hint)


def _unsaved(spec: VMSpec) -> NotSupported:
    return NotSupported(f"VM {spec.name}: a VM of Xen is neither saved nor cloned here")
