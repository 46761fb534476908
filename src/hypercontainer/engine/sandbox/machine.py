"""From a pod's record and contents to the VM that it needs: kernel, initrd, accelerator, devices, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hypercontainer.config import Machine
from hypercontainer.contract.spec import PodSpec
from hypercontainer.engine import network
from hypercontainer.engine.network import ports
from hypercontainer.engine.places import Places
from hypercontainer.engine.sandbox import layout, storage
from hypercontainer.engine.sandbox.boot_files import BootFiles
from hypercontainer.engine.sandbox.claims import Claims
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL, IMAGE_SERIAL, Hardware
from hypercontainer.engine.state import ImagePart, PodRecord
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import InvalidArgument, NotFound, Remedy
from hypercontainer.hypervisor.driver import Accelerator, DiskSpec, VMSpec, choose_accelerator
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.resources import vcpus_for
from hypercontainer.kernel import Kernel, KernelStore, build_initrd, command_line
from hypercontainer.linux import tsc
from hypercontainer.rootfs import LayerStore, RootDisk
from hypercontainer.volume.store import VolumeStore

_ROOT_DISKS = Workers("root disks", 64, waits=True)


@dataclass(frozen=True)
class Supplies:
    """What VMs are made of and from, of one engine.  ``hyperstart`` finds the guest's init, which may be missing and
    is needed late; ``cache`` holds initrds."""

    machine: Machine
    cache: Path
    places: Places
    drivers: Drivers
    kernels: KernelStore
    layers: LayerStore
    volumes: VolumeStore
    boot_files: BootFiles
    claims: Claims
    hyperstart: Callable[[], Path]

    async def roots(self, images: Sequence[tuple[str, ...]]) -> list[RootDisk]:
        """In a thread of its own: who merges one of them already is waited for."""
        return await _ROOT_DISKS.run(lambda: [self.layers.root_disk(diff_ids) for diff_ids in images])

    def find_kernel(self, wish: str | None) -> Kernel:
        """The kernel called ``wish``: a path, or the name of one of ours; without one the default.  Blocks."""
        name = wish or self.machine.kernel
        if name is None:
            return self.kernels.default()
        if "/" in name:
            return self.kernels.user(Path(name))
        for kernel in self.kernels.list():
            if name in (kernel_name(kernel), kernel.version):
                return kernel
        raise NotFound(
            f"no kernel called {name}",
            hint="a path has a slash in it",
            remedies=(Remedy("system.kernels", aim="lists them"),),
        )


def kernel_name(kernel: Kernel) -> str:
    return f"{kernel.source}-{kernel.version}"


async def plan_hardware(
    record: PodRecord, contents: Contents, supplies: Supplies
) -> tuple[Hardware, dict[str, Any]]:
    """The VM with all of ``contents``, and what there is to write down of it once it is to be."""
    kernel = await storage.HOST_PATHS.run(partial(_kernel, supplies, record))
    initrd = await storage.HOST_PATHS.run(partial(_initrd, supplies, record, kernel))
    accelerator = await _accelerator(supplies, record, kernel)
    arguments = command_line(
        kernel,
        emulated=accelerator is Accelerator.TCG,
        console=True,
        extra=record.kernel_args,
        tsc_khz=await asyncio.to_thread(tsc.rate_khz),
    )
    boot_files_bytes = _size_bytes(kernel.path) + _size_bytes(initrd)
    shares = await storage.shares(contents.volumes.values(), supplies.places)
    published = ports.choose(record.ports)
    disks, images = await _disks(record, contents, supplies)
    joined = network.find(record.network)
    limits = supplies.drivers.default.limits(
        record.memory_mib, record.cpus, accelerator, boot_files_bytes=boot_files_bytes, shares=len(shares)
    )
    spec = VMSpec(
        id=record.id[:12],
        name=contents.name,
        run_dir=supplies.places.vm(record.id),
        kernel=kernel.path,
        initrd=initrd,
        kernel_args=arguments,
        memory_mib=record.memory_mib,
        vcpus=vcpus_for(record.cpus),
        disks=disks,
        shares=shares,
        nics=joined.attach(record.mac, published).nics,
        accelerator=accelerator,
        owner_uid=record.uid,
        limits=limits,
    )
    facts: dict[str, Any] = {"published": published, "images": images}
    facts["vm_kernel"] = record.kernel if _is_path(record.kernel) else str(kernel.path)
    facts |= {"vm_kernel_args": arguments, "vm_accelerator": accelerator.value}
    return Hardware(spec, kernel.source != "own", record.cpus, joined, published if spec.nics else ()), facts


async def _disks(
    record: PodRecord, contents: Contents, supplies: Supplies
) -> tuple[tuple[DiskSpec, ...], tuple[ImagePart, ...]]:
    """All that the VM has from the start, and where the images are on the first."""
    roots = await supplies.roots(contents.images)
    image, parts = layout.image_disk(IMAGE_SERIAL, roots)
    volumes = await storage.disks(contents.volumes.values(), supplies.volumes)
    return (*([image] if roots else []), *_writable(record, supplies.places), *volumes), parts


async def _accelerator(supplies: Supplies, record: PodRecord, kernel: Kernel) -> Accelerator:
    asked = record.accelerator or supplies.machine.accelerator
    wanted = None if asked == "auto" else Accelerator(asked)
    return (await choose_accelerator(supplies.drivers.default, wanted, kernel.path)).accelerator


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
    if spec.kernel is not None and _is_path(spec.kernel):
        boot_files.check("kernel", spec.kernel, user)
    if spec.initrd is not None:
        boot_files.check("initrd", spec.initrd, user)


def _kernel(supplies: Supplies, record: PodRecord) -> Kernel:
    name = record.kernel
    if name is None or not _is_path(name):
        return supplies.find_kernel(name)
    copy = supplies.boot_files.copy("kernel", name, storage.asking(record.asked_by))
    try:
        return supplies.find_kernel(str(copy))
    except InvalidArgument as error:  # of a file that its user knows by another name
        raise InvalidArgument(error.message.replace(str(copy), name), hint=error.hint) from error


def _initrd(supplies: Supplies, record: PodRecord, kernel: Kernel) -> Path:
    if record.initrd is None:
        return build_initrd(supplies.hyperstart(), kernel, supplies.cache)
    # The configuration's is hyperd's own wish.
    user = storage.asking(record.asked_by) if record.spec.initrd is not None else None
    return supplies.boot_files.copy("initrd", record.initrd, user)
