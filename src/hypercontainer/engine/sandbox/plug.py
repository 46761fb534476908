"""Disks that are plugged into a VM that runs, for containers that come later, and taken out again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hypercontainer.contract.volumes import HostPath
from hypercontainer.engine.sandbox import layout, storage
from hypercontainer.engine.sandbox.storage import serial
from hypercontainer.errors import Conflict
from hypercontainer.hypervisor.driver import VM, DiskSpec
from hypercontainer.rootfs import RootDisk, chain_id
from hypercontainer.semantics.mounts import guest_name, short_name

if TYPE_CHECKING:
    from hypercontainer.engine.pod.pod import Pod

PLUGGED = "i"  # begins the serial of an image that came later


async def image(pod: Pod, root: RootDisk) -> None:
    """Has the VM have the image."""
    if pod.image_part(root.chain_id) is not None:
        return
    own = short_name(PLUGGED, root.chain_id)
    disk, parts = layout.image_disk(own, [root])
    await _vm(pod).attach_disk(disk)
    pod.change(images=(*pod.record.images, *parts))


async def volumes(pod: Pod, disks: Iterable[DiskSpec]) -> None:
    """Has the VM have the volumes' ``disks``."""
    missing = {
        serial(volume): volume
        for volume in pod.volumes.values()
        if guest_name(volume.name) not in pod.record.mounted
    }
    for volume in missing.values():
        if isinstance(volume.source, HostPath):
            raise Conflict(
                f"a directory of the host cannot be given to a pod that runs: {volume.source.path}",
                hint="stop the pod; it has it when it is started again",
            )
    for disk in disks:
        if disk.serial in missing:
            await _vm(pod).attach_disk(disk)


async def unused(pod: Pod) -> None:
    """Takes out what came with containers that are gone."""
    wanted = storage.plans(pod)
    for name, disk in tuple(pod.record.mounted.items()):
        if name not in wanted:
            await pod.agent.remove_volume(name)
            pod.change(mounted={other: kept for other, kept in pod.record.mounted.items() if other != name})
            if disk:
                await _vm(pod).detach_disk(disk)
    used = {chain_id(record.diff_ids) for record in pod.records()}
    for part in pod.record.images:
        if part.chain_id not in used and part.serial.startswith(f"{PLUGGED}-"):
            pod.change(images=tuple(other for other in pod.record.images if other != part))
            await _vm(pod).detach_disk(part.serial)


def _vm(pod: Pod) -> VM:
    assert pod.vm is not None
    return pod.vm
