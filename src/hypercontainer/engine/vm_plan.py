"""From a pod's record to the VM that it needs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from hypercontainer.engine import addresses
from hypercontainer.engine.hardware import DISK_SERIAL, IMAGE_SERIAL, Hardware
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod import Pod
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import NotFound
from hypercontainer.hypervisor.driver import (
    Accelerator,
    DiskSpec,
    PortForward,
    UserNetwork,
    VMSpec,
    choose_accelerator,
)
from hypercontainer.hypervisor.resources import limits_for, vcpus_for
from hypercontainer.kernel import Kernel, build_initrd, command_line
from hypercontainer.linux import tsc
from hypercontainer.rootfs import RootDisk
from hypercontainer.types.spec import PortMapping


async def plan_hardware(pod: Pod, record: ContainerRecord, parts: Parts, root: RootDisk) -> Hardware:
    wish = pod.record
    kernel = await asyncio.to_thread(find_kernel, parts, wish.kernel)
    initrd = Path(wish.initrd) if wish.initrd else await asyncio.to_thread(_initrd, parts, kernel)
    asked = wish.accelerator or parts.config.machine.accelerator
    accelerator = (
        await choose_accelerator(parts.driver, None if asked == "auto" else Accelerator(asked), kernel.path)
    ).accelerator
    arguments = command_line(
        kernel,
        emulated=accelerator is Accelerator.TCG,
        console=True,
        extra=wish.kernel_args,
        tsc_khz=await asyncio.to_thread(tsc.rate_khz),
    )
    boot_files_bytes = _size_bytes(kernel.path) + _size_bytes(initrd)
    published = addresses.publish(wish.ports)
    pod.change(
        published=published,
        vm_kernel=str(kernel.path),
        vm_kernel_args=arguments,
        vm_accelerator=accelerator.value,
    )
    spec = VMSpec(
        id=wish.id[:12],
        name=record.name,
        run_dir=parts.run_dir(wish.id),
        kernel=kernel.path,
        initrd=initrd,
        kernel_args=arguments,
        memory_mib=wish.memory_mib,
        vcpus=vcpus_for(wish.cpus),
        disks=_disks(record, parts, root),
        network=_network(wish.mac, published) if wish.network != "none" else None,
        accelerator=accelerator,
        owner_uid=wish.uid,
        limits=limits_for(wish.memory_mib, wish.cpus, accelerator, boot_files_bytes=boot_files_bytes),
    )
    return Hardware(spec, release_disks=kernel.source != "own", cpus=wish.cpus)


def runs_as_root() -> bool:
    return os.geteuid() == 0


def _disks(record: ContainerRecord, parts: Parts, root: RootDisk) -> tuple[DiskSpec, ...]:
    image = DiskSpec(
        IMAGE_SERIAL, tuple((extent.path, extent.size_bytes) for extent in root.extents), read_only=True
    )
    if record.spec.read_only:
        return (image,)
    path = disk_path(parts, record.id)
    return (image, DiskSpec(DISK_SERIAL, ((path, path.stat().st_size),), read_only=False))


def disk_path(parts: Parts, identifier: str) -> Path:
    return parts.container_dir(identifier) / "disk.img"


def _network(mac: str, published: tuple[PortMapping, ...]) -> UserNetwork:
    return UserNetwork(
        mac=mac,
        guest_cidr=f"{addresses.GUEST_ADDRESS}/{addresses.GUEST_PREFIX}",
        gateway=addresses.GATEWAY,
        dns=addresses.NAME_SERVER,
        forwards=tuple(
            PortForward(port.host_ip, port.host_port, port.container_port, port.protocol)
            for port in published
        ),
    )


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


def _initrd(parts: Parts, kernel: Kernel) -> Path:
    return build_initrd(parts.hyperstart(), kernel, parts.config.cache)
