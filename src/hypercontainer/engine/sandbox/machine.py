"""From a pod's record and contents to the VM that it needs: kernel, initrd, accelerator, devices, limits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hypercontainer.config import Machine, RbdCluster
from hypercontainer.contract.spec import PodSpec, PortMapping
from hypercontainer.contract.volumes import DiskImage, HostPath, NetworkDisk
from hypercontainer.engine.coming import Coming
from hypercontainer.engine.network import ports
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.places import Places
from hypercontainer.engine.sandbox import layout, remote, storage
from hypercontainer.engine.sandbox.boot_files import BootFiles
from hypercontainer.engine.sandbox.choice import AUTO, Chosen, Wish, choose, choose_foreign
from hypercontainer.engine.sandbox.claims import Claims
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL, IMAGE_SERIAL, Hardware
from hypercontainer.engine.state import ImagePart, PodRecord
from hypercontainer.engine.verifying import Verifying
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor.driver import Capabilities, Driver
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.resources import vcpus_for
from hypercontainer.hypervisor.spec import (
    EXISTING,
    NAT,
    NICS,
    TAP,
    Accelerator,
    DiskSpec,
    Existing,
    Tap,
    UserNat,
    VMSpec,
)
from hypercontainer.kernel import Kernel, KernelStore, build_initrd, command_line
from hypercontainer.linux import tsc
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.waiting import both
from hypercontainer.rootfs import LayerStore, RootDisk
from hypercontainer.volume.store import VolumeStore

FOREIGN_PATIENCE = 3
_ROOT_DISKS = Workers("root disks", 64, waits=True)


@dataclass(frozen=True)
class Supplies:
    """What VMs are made of and from, of one engine.  ``verity``: as the configuration has it.  ``hyperstart`` finds the
    guest's init for an architecture, which may be missing and is needed late; ``cache`` holds initrds."""

    machine: Machine
    verity: str
    verifying: Verifying
    cache: Path
    places: Places
    drivers: Drivers
    kernels: KernelStore
    layers: LayerStore
    coming: Coming
    volumes: VolumeStore
    boot_files: BootFiles
    claims: Claims
    networks: Networks
    clusters: Mapping[str, RbdCluster]
    hyperstart: Callable[[str], Path]

    async def choose(self, asked: Wish, wants: Mapping[str, str], architecture: str = AMD64) -> Chosen:
        """See ``choice.choose``, and for another ``architecture`` than this machine's ``choice.choose_foreign``."""
        if architecture != self.drivers.default.architecture:
            return await choose_foreign(asked, self.drivers, self.kernels, architecture)
        machine = self.machine
        configured = Wish(machine.hypervisor, machine.accelerator, machine.kernel)
        return await choose(asked, configured, self.drivers, self.kernels, wants)

    async def nics(self, hypervisor: str | None) -> frozenset[str]:
        """Of VMs that are asked for with this ``hypervisor``; all there are where it cannot be asked."""
        name = hypervisor or self.machine.hypervisor
        if name != AUTO:
            with contextlib.suppress(Unavailable):
                return (await self.drivers.named(name).capabilities()).nics
        return frozenset(NICS)

    def boot_timeout_s(self, driver: Driver) -> float:
        """Of its VMs: another architecture's kernel is a distribution's, and the emulator takes its time with it."""
        foreign = driver.architecture != self.drivers.default.architecture
        return self.machine.boot_timeout_s * (FOREIGN_PATIENCE if foreign else 1)

    async def of(self, architecture: str) -> Chosen:
        """What runs VMs of another architecture; raises where something that they need is not here."""
        chosen = await self.choose(Wish(), {}, architecture)
        self.hyperstart(architecture)
        return chosen

    async def roots(self, images: Sequence[tuple[str, ...]]) -> list[RootDisk]:
        """In a thread of its own: who merges one of them already is waited for."""
        return await _ROOT_DISKS.run(lambda: [self.coming.root_disk(diff_ids) for diff_ids in images])


async def plan_hardware(
    record: PodRecord, contents: Contents, supplies: Supplies
) -> tuple[Hardware, dict[str, Any]]:
    """The VM with all of ``contents``, and what there is to write down of it once it is to be."""
    chosen = await _choose(record, contents, supplies)
    kernel, accelerator = chosen.kernel, chosen.accelerator
    able = await chosen.driver.capabilities()
    memory_mib = _in_steps(record.memory_mib, able.memory_step_mib)
    initrd = await storage.HOST_PATHS.run(partial(_initrd, supplies, record, kernel))
    arguments = await _arguments(record, chosen, able)
    planned = _disks(record, contents, supplies, kernel)
    (disks, images), published = await both(planned, _published(record, supplies))
    shares = await storage.shares(contents.volumes.values(), supplies.places, supplies.volumes)
    remotes = await remote.disks(contents.volumes.values(), supplies.clusters)
    joined = await supplies.networks.allot(record, published, chosen.driver)
    served = len(shares) + remote.as_shares(remotes)
    boot = _size_bytes(kernel.path) + _size_bytes(initrd)
    limits = chosen.driver.limits(memory_mib, record.cpus, accelerator, boot_files_bytes=boot, shares=served)
    spec = VMSpec(
        id=record.id[:12],
        name=contents.name,
        run_dir=supplies.places.vm(record.id),
        kernel=kernel.path,
        initrd=initrd,
        kernel_args=arguments,
        memory_mib=memory_mib,
        vcpus=vcpus_for(record.cpus),
        disks=disks,
        shares=shares,
        remotes=remotes,
        nics=joined.nics(published),
        accelerator=accelerator,
        owner_uid=record.uid,
        limits=limits,
        waits_for_room=supplies.machine.disk_full == "pause",
    )
    _check_nics(spec, able)
    facts: dict[str, Any] = {"published": published, "images": images, "attachments": joined.attachments}
    facts |= _vm_facts(record, chosen, arguments) | {"memory_mib": memory_mib}
    if not able.plugs:
        spec = replace(spec, hotplug_slots=0)
    shown = published if spec.nics else ()
    return Hardware(spec, chosen.driver, kernel.source != "own", record.cpus, joined, shown), facts


_BACKENDS = {UserNat: NAT, Tap: TAP, Existing: EXISTING}
_NETWORKS = {NAT: "the network 'user'", TAP: "networks of hyperd's", EXISTING: "the network 'hypervisor'"}


def _check_nics(spec: VMSpec, able: Capabilities) -> None:
    for nic in spec.nics:
        if (kind := _BACKENDS[type(nic.backend)]) not in able.nics:
            there = " or ".join(_NETWORKS[each] for each in NICS if each in able.nics)
            raise NotSupported(
                f"VMs of {able.name} are not in {_NETWORKS[kind]}", hint=f"put the pod into {there or 'none'}"
            )


def _in_steps(asked: int, step: int) -> int:
    """At least what was asked for."""
    return -(-asked // step) * step


async def _arguments(record: PodRecord, chosen: Chosen, able: Capabilities) -> tuple[str, ...]:
    """Of the kernel."""
    return command_line(
        chosen.kernel,
        emulated=chosen.accelerator is Accelerator.TCG,
        console=True,
        extra=record.kernel_args,
        tsc_khz=await asyncio.to_thread(tsc.rate_khz),
        device=able.console,
        line=able.line,
    )


def _vm_facts(record: PodRecord, chosen: Chosen, arguments: tuple[str, ...]) -> dict[str, Any]:
    kernel = record.kernel if _is_path(record.kernel) else str(chosen.kernel.path)
    return {
        "vm_kernel": kernel,
        "vm_kernel_args": arguments,
        "vm_accelerator": chosen.accelerator.value,
    }


async def _published(record: PodRecord, supplies: Supplies) -> tuple[PortMapping, ...]:
    if record.ports:
        await supplies.networks.settled()
    return ports.choose(record.ports)


async def _disks(
    record: PodRecord, contents: Contents, supplies: Supplies, kernel: Kernel
) -> tuple[tuple[DiskSpec, ...], tuple[ImagePart, ...]]:
    """All that the VM has from the start, and where the images are on the first."""
    roots = _checked(await supplies.roots(contents.images), kernel, supplies.verity)
    image, parts = layout.image_disk(IMAGE_SERIAL, roots)
    folder = layout.disk_folder(supplies.places, record)
    volumes = await storage.disks(contents.volumes.values(), supplies.volumes, folder)
    return (*([image] if roots else []), *_writable(record, supplies.places), *volumes), parts


def _checked(roots: list[RootDisk], kernel: Kernel, verity: str) -> list[RootDisk]:
    """As a guest of this kernel has them.  Distributions have dm-verity as a module, which it has not got; a user's own
    kernel is tried where it has to be."""
    if verity != "required":
        return roots if kernel.source == "own" else [replace(root, verity=None) for root in roots]
    why = f"kernel {kernel.name} has no dm-verity in it" if kernel.source == "debian" else ""
    if any(root.verity is None for root in roots):
        why = why or "one of them is larger than what is verified"
    if why:
        hint = "hyperd's configuration can do without (images.verity)"
        raise NotSupported(f"images are to be verified by their guests, and {why}", hint=hint)
    return roots


def _writable(record: PodRecord, places: Places) -> tuple[DiskSpec, ...]:
    path = layout.disk_path(places, record)
    return (DiskSpec(DISK_SERIAL, ((path, path.stat().st_size),), read_only=False),) if path.exists() else ()


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise NotFound(
            f"boot file {path}: {error.strerror}", hint="is it a kernel's, or an initrd's, path?"
        ) from error


def _is_path(kernel: str | None) -> bool:
    """And not the name of one of ours."""
    return kernel is not None and "/" in kernel


def check_boot_files(spec: PodSpec, boot_files: BootFiles, asked_by: int | None) -> None:
    """That who asks for a pod may read what it names, which they learn at once.  Blocks."""
    user = storage.asking(asked_by)
    if spec.initrd is not None or _is_path(spec.kernel):
        storage.check_known(asked_by, "kernel" if _is_path(spec.kernel) else "initrd")
    if spec.kernel is not None and _is_path(spec.kernel):
        boot_files.check("kernel", spec.kernel, user)
    if spec.initrd is not None:
        boot_files.check("initrd", spec.initrd, user)


async def _choose(record: PodRecord, contents: Contents, supplies: Supplies) -> Chosen:
    wants = _wants(contents, supplies.volumes)
    return await supplies.choose(await _wish(supplies, record), wants, record.architecture)


async def _wish(supplies: Supplies, record: PodRecord) -> Wish:
    """What is asked for this VM; a kernel of the user's as a path of ours."""
    hypervisor, accelerator, kernel = record.hypervisor or AUTO, record.accelerator or AUTO, record.kernel
    if kernel is None or not _is_path(kernel):
        return Wish(hypervisor, accelerator, kernel)
    user = storage.asking(record.asked_by)
    copy = await storage.HOST_PATHS.run(partial(supplies.boot_files.copy, "kernel", kernel, user))
    return Wish(hypervisor, accelerator, str(copy), kernel)


def _wants(contents: Contents, store: VolumeStore) -> dict[str, str]:
    """See ``choose``."""
    volumes = [brought.volume for brought in contents.volumes.values()]
    wanted = {}
    if any(isinstance(volume.source, HostPath) for volume in volumes):
        wanted["shares"] = "directories of the host"
    if any(storage.is_shared(volume, store) for volume in volumes):
        wanted["together"] = "volumes that several VMs write to"
    if any(isinstance(volume.source, DiskImage) and volume.source.format != "raw" for volume in volumes):
        wanted["formats"] = "disks of other formats than raw"
    if any(isinstance(volume.source, NetworkDisk) for volume in volumes):
        wanted["remotes"] = "disks of the network"
    return wanted


def _initrd(supplies: Supplies, record: PodRecord, kernel: Kernel) -> Path:
    if record.initrd is None:
        return build_initrd(supplies.hyperstart(kernel.architecture), kernel, supplies.cache)
    # The configuration's is hyperd's own wish.
    user = storage.asking(record.asked_by) if record.spec.initrd is not None else None
    return supplies.boot_files.copy("initrd", record.initrd, user)
