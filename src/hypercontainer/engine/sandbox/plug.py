"""Disks that are plugged into a VM that runs, for containers that come later, and taken out again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hypercontainer.agent.session import Agent
from hypercontainer.contract.volumes import HostPath, NamedVolume, NetworkDisk
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import layout
from hypercontainer.engine.sandbox.contents import Brought
from hypercontainer.engine.sandbox.storage import is_shared, serial
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import Conflict
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.rootfs import RootDisk
from hypercontainer.semantics.mounts import guest_name, short_name
from hypercontainer.volume import network
from hypercontainer.volume.store import VolumeStore

PLUGGED = "i"  # begins the serial of an image that came later


async def image(vm: VM, record: Kept[PodRecord], root: RootDisk) -> None:
    """Has the VM have the image."""
    if any(part.chain_id == root.chain_id for part in record.value.images):
        return
    disk, parts = layout.image_disk(short_name(PLUGGED, root.chain_id), [root])
    await vm.attach_disk(disk)
    record.change(images=(*record.value.images, *parts))


async def volumes(
    vm: VM, pod: PodRecord, wanted: Mapping[str, Brought], disks: Iterable[DiskSpec], store: VolumeStore
) -> None:
    """Has the VM have the ``disks`` of those that are ``wanted`` and that it has not yet."""
    missing = {
        serial(brought.volume): brought.volume
        for brought in wanted.values()
        if guest_name(brought.volume.name) not in pod.mounted
    }
    for volume in missing.values():
        what = ""
        if isinstance(volume.source, HostPath):
            what = f"a directory of the host cannot be given to a pod that runs: {volume.source.path}"
        elif isinstance(volume.source, NetworkDisk):
            words = network.where(volume.source).words
            what = f"a disk of the network cannot be given to a pod that runs: {words}"
        elif isinstance(volume.source, NamedVolume) and is_shared(volume, store):
            what = f"a volume that is shared cannot be given to a pod that runs: {volume.source.name}"
        if what:
            raise Conflict(what, hint="stop the pod; it has it when it is started again")
    for disk in disks:
        if disk.serial in missing:
            await vm.attach_disk(disk)


async def unused(
    vm: VM, agent: Agent, record: Kept[PodRecord], *, volumes: Collection[str], images: Collection[str]
) -> None:
    """Takes out all but ``volumes``, by the guest's names, and ``images``, by their chain IDs."""
    for name, disk in tuple(record.value.mounted.items()):
        if name not in volumes:
            await agent.remove_volume(name)
            record.change(
                mounted={other: kept for other, kept in record.value.mounted.items() if other != name}
            )
            if disk:
                await vm.detach_disk(disk)
    for part in record.value.images:
        if part.chain_id not in images and part.serial.startswith(f"{PLUGGED}-"):
            record.change(images=tuple(other for other in record.value.images if other != part))
            await vm.detach_disk(part.serial)
