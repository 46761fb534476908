"""How a pod's images and changes lie on its disks; pure.

All images that a pod has when its VM starts are one disk, one after the other, so that a pod of many has the devices
of a pod of one, and the same template.  Containers of one image share its part.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypercontainer.agent.operations import Disk
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL
from hypercontainer.engine.state import ContainerRecord, ImagePart, PodRecord
from hypercontainer.hypervisor.driver import DiskSpec
from hypercontainer.rootfs import RootDisk


def image_disk(serial: str, roots: Sequence[RootDisk]) -> tuple[DiskSpec, tuple[ImagePart, ...]]:
    """The disk with all of ``roots``, each once, and where each is on it."""
    unique = list({root.chain_id: root for root in roots}.values())
    extents, parts, offset = [], [], 0
    for root in unique:
        length = sum(extent.size_bytes for extent in root.extents)
        extents += [(extent.path, extent.size_bytes) for extent in root.extents]
        whole = len(unique) == 1
        parts.append(
            ImagePart(root.chain_id, serial, root.filesystem, 0 if whole else offset, 0 if whole else length)
        )
        offset += length
    return DiskSpec(serial, tuple(extents), read_only=True), tuple(parts)


def lower(part: ImagePart) -> Disk:
    if not part.length_bytes:
        return Disk(part.serial, part.filesystem)
    return Disk(part.serial, part.filesystem, offset_bytes=part.offset_bytes, length_bytes=part.length_bytes)


def upper(pod: PodRecord, record: ContainerRecord) -> Disk | None:
    """A container that is alone has its disk to itself, one of a pod a directory of the pod's."""
    if record.spec.read_only:
        return None
    return Disk(DISK_SERIAL, "ext4", directory=f"container-{record.id[:12]}" if pod.name else "")
