"""Starts VMs by a libvirt and finds them again; ``starting`` has the steps of a launch."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hypercontainer.errors import HyperError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.driver import Capabilities, Check, Lan, Verdict, VMRecord
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.launching import Launches
from hypercontainer.hypervisor.libvirt import doctor, greeting, library, networks
from hypercontainer.hypervisor.libvirt.domain import Plan, domain_xml
from hypercontainer.hypervisor.libvirt.greeting import Facts
from hypercontainer.hypervisor.libvirt.link import Link
from hypercontainer.hypervisor.libvirt.settings import Asked
from hypercontainer.hypervisor.libvirt.starting import Start, Supplies
from hypercontainer.hypervisor.libvirt.vm import LibvirtVM, reached
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.programs import program_key
from hypercontainer.hypervisor.qemu import binary as binaries
from hypercontainer.hypervisor.qemu import probe
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.machines import MACHINES
from hypercontainer.hypervisor.qemu.overhead import overhead_bytes
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.resources import quota_for
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import EXISTING, NAT, TAP, Accelerator, Limits, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from hypercontainer.linux import cgroup
from hypercontainer.linux.architectures import AMD64

# Of a domain whose QEMU is there to be killed by who has its descriptor.
DESTROY_S = 10.0


class LibvirtDriver:
    """See ``hypercontainer.hypervisor.driver.Driver``."""

    architecture = AMD64

    def __init__(self, name: str, asked: Asked, host: Host) -> None:
        self.name, self.asked, self.uids = name, asked, host.uids
        self._state = host.state
        self._cache = FactCache(host.facts)
        self._machine = MACHINES[AMD64]
        self.link: Link[Facts] = Link(asked.uri, lambda connection: greeting.greet(connection, host.state))
        self._resolver = Resolver()
        self._launches: Launches[LibvirtVM] = Launches()

    def check_installed(self) -> None:
        library.load()
        binaries.find(self.asked.program, self._machine)

    async def capabilities(self) -> Capabilities:
        self.check_installed()
        binary, facts = await self.binary(), await self.link.greeting()
        return Capabilities(
            self.name,
            f"{facts.version} with QEMU {binary.version}",
            binary.accelerators,
            nics=frozenset(
                {TAP, *([NAT] if binary.datagrams else []), *([EXISTING] if self.asked.network else [])}
            ),
            formats=True,
            sandbox=binary.sandbox,
            confinement=(facts.confined,) if facts.confined else (),
            not_limited=cgroup.here().not_limited,
        )

    async def binary(self) -> Binary:
        path = binaries.find(self.asked.program, self._machine)
        key = f"program {program_key(path)}"
        return await self._cache.learned(key, Binary, partial(binaries.inspect, path, self._machine))

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        """By the QEMU that libvirt starts, and without libvirt."""
        return await probe.verdict(await self.binary(), self._cache, accelerator, kernel, refresh=refresh)

    async def diagnose(self) -> list[Check]:
        return await doctor.diagnose(self)

    async def lan(self) -> Lan:
        name = self.asked.network
        if not name:
            raise Unavailable(
                f"no network of {self.asked.uri} is for pods",
                hint=f"[hypervisor.{self.name}] network names one",
            )
        if self.asked.lan is not None:
            return self.asked.lan
        return await self.link.call(f"network {name}", networks.asked(name, self.asked.addresses))

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

    async def launch(self, spec: VMSpec) -> LibvirtVM:
        check_spec(spec)
        return await self._launches.run(self._launch(spec), spec.id)

    async def _launch(self, spec: VMSpec) -> LibvirtVM:
        supplies = Supplies(
            self.name,
            self.asked,
            self._state,
            self.link,
            self._cache,
            self._resolver,
            await self.binary(),
        )
        return await Start(spec, supplies).run()

    async def fingerprint(self, spec: VMSpec) -> str:
        binary = await self.binary()
        plain = replace(spec.as_seen(), id="template", name="template", run_dir=Path("/template"))
        plan = Plan(binary, Path(), None, None, self.asked.machine, self._state)
        return "\0".join([binary.key, binary.version, domain_xml(plain, plan, "template")])

    async def launch_to_save(self, spec: VMSpec) -> LibvirtVM:
        raise _unsaved(spec)

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> LibvirtVM:
        raise _unsaved(spec)

    async def adopt(self, record: VMRecord) -> LibvirtVM | None:
        """Also while libvirt is not there, which is asked again and again then."""
        found = helpers.taken_up(record)
        if found is None:
            await self.destroy(record)
            return None
        process, *serving = found
        run = RunDir(record.run_dir)
        with contextlib.ExitStack() as undo:
            for one in found:
                undo.callback(one.close)
            try:
                output = Output(run, (await reached(run.console)).detach(), new=False)
            except OSError as error:
                if await helpers.ends(process):
                    await self.destroy(record)
                    return None
                raise Unavailable(f"VM {record.name}: its console cannot be reached: {error}") from error
            undo.pop_all()
        return LibvirtVM(record, self.link, process, serving, output, self._resolver)

    async def destroy(self, record: VMRecord) -> None:
        """Where libvirt does not answer, it finds out by itself that a QEMU has ended, and one that has not begun is
        swept away with the next connection."""
        process = helpers.own(record)
        if process is not None:
            await helpers.end(process)
        await helpers.end_all(record)
        uuid = record.foreign.get("uuid", "")

        def work(connection: Any) -> None:
            greeting.destroy(connection, uuid, self._state)

        with contextlib.suppress(HyperError):
            await self.link.call("destroy", work, timeout_s=DESTROY_S)
        clean(RunDir(record.run_dir), record)


def _unsaved(spec: VMSpec) -> NotSupported:
    return NotSupported(f"VM {spec.name}: one of libvirt's is neither saved nor cloned")
