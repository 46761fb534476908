"""From a pod's record to the VM that it needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import user as addresses
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.sandbox import layout, storage
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL, IMAGE_SERIAL, Hardware
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import NotFound
from hypercontainer.hypervisor.driver import (
    Accelerator,
    DiskSpec,
    Limits,
    Nic,
    UserNat,
    VMSpec,
    choose_accelerator,
)
from hypercontainer.hypervisor.resources import vcpus_for
from hypercontainer.kernel import Kernel, build_initrd, command_line
from hypercontainer.linux import tsc
from hypercontainer.rootfs import RootDisk


async def plan_hardware(pod: Pod, parts: Parts, roots: Sequence[RootDisk]) -> Hardware:
    """The VM with the images ``roots`` and all that the pod's containers may mount."""
    wish = pod.record
    kernel = await asyncio.to_thread(find_kernel, parts, wish.kernel)
    initrd = await asyncio.to_thread(_initrd, parts, wish, kernel)
    accelerator = await _accelerator(parts, wish, kernel)
    arguments = command_line(
        kernel,
        emulated=accelerator is Accelerator.TCG,
        console=True,
        extra=wish.kernel_args,
        tsc_khz=await asyncio.to_thread(tsc.rate_khz),
    )
    boot_files = _size_bytes(kernel.path) + _size_bytes(initrd)
    shares = await storage.shares(pod, parts)
    published = addresses.publish(wish.ports)
    image, images = layout.image_disk(IMAGE_SERIAL, roots)
    pod.change(
        published=published,
        images=images,
        vm_kernel=str(kernel.path),
        vm_kernel_args=arguments,
        vm_accelerator=accelerator.value,
    )
    spec = VMSpec(
        id=wish.id[:12],
        name=wish.name or pod.records()[0].name,
        run_dir=parts.run_dir(wish.id),
        kernel=kernel.path,
        initrd=initrd,
        kernel_args=arguments,
        memory_mib=wish.memory_mib,
        vcpus=vcpus_for(wish.cpus),
        disks=(image, *_writable(pod, parts), *await storage.disks(pod, parts)),
        shares=shares,
        nics=(_nic(wish.mac, published),) if wish.network != "none" else (),
        accelerator=accelerator,
        owner_uid=wish.uid,
        limits=_limits(parts, wish, accelerator, boot_files, len(shares)),
    )
    return Hardware(spec, release_disks=kernel.source != "own", cpus=wish.cpus)


def _limits(
    parts: Parts, wish: PodRecord, accelerator: Accelerator, boot_files_bytes: int, shares: int
) -> Limits:
    return parts.driver.limits(
        wish.memory_mib, wish.cpus, accelerator, boot_files_bytes=boot_files_bytes, shares=shares
    )


async def _accelerator(parts: Parts, wish: PodRecord, kernel: Kernel) -> Accelerator:
    asked = wish.accelerator or parts.config.machine.accelerator
    wanted = None if asked == "auto" else Accelerator(asked)
    return (await choose_accelerator(parts.driver, wanted, kernel.path)).accelerator


def runs_as_root() -> bool:
    return os.geteuid() == 0


def _writable(pod: Pod, parts: Parts) -> tuple[DiskSpec, ...]:
    path = disk_path(parts, pod.record, pod.records()[0].id)
    return (DiskSpec(DISK_SERIAL, ((path, path.stat().st_size),), read_only=False),) if path.exists() else ()


def disk_path(parts: Parts, pod: PodRecord, container: str) -> Path:
    """The disk with what containers write: of a pod in all, or of the container that is alone."""
    return (parts.pod_dir(pod.id) if pod.name else parts.container_dir(container)) / "disk.img"


def _nic(mac: str, published: tuple[PortMapping, ...]) -> Nic:
    guest_cidr = f"{addresses.GUEST_ADDRESS}/{addresses.GUEST_PREFIX}"
    return Nic(mac, UserNat(guest_cidr, addresses.GATEWAY, addresses.NAME_SERVER, published))


def find_kernel(parts: Parts, wish: str | None) -> Kernel:
    """The kernel called ``wish``: a path, or a name that `hyper kernel ls` shows; without one the default."""
    name = wish or parts.config.machine.kernel
    if name is None:
        return parts.kernels.default()
    if "/" in name:
        return parts.kernels.user(Path(name))
    for kernel in parts.kernels.list():
        if name in (kernel_name(kernel), kernel.version):
            return kernel
    raise NotFound(f"no kernel called {name}", hint="`hyper kernel ls` lists them; a path has a slash in it")


def kernel_name(kernel: Kernel) -> str:
    return f"{kernel.source}-{kernel.version}"


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise NotFound(f"boot file {path}: {error.strerror}", hint="see --kernel and --initrd") from error


def _initrd(parts: Parts, wish: PodRecord, kernel: Kernel) -> Path:
    if wish.initrd:
        return Path(wish.initrd)
    return build_initrd(parts.hyperstart(), kernel, parts.config.cache)
