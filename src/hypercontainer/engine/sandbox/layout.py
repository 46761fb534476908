"""How a pod's images and changes lie on its disks; pure.

All images that a pod has when its VM starts are one disk, one after the other, so that a pod of many has the devices
of a pod of one, and the same template.  Containers of one image share its part.  A container that is alone has the
writable disk to itself, one of a pod a directory of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hypercontainer.agent.operations import Disk
from hypercontainer.engine.places import Places
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL
from hypercontainer.engine.state import ImagePart, PodRecord
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.rootfs import RootDisk, chain_id


def disk_folder(places: Places, pod: PodRecord) -> Path:
    return places.container(pod.id) if pod.alone else places.pod(pod.id)


def disk_path(places: Places, pod: PodRecord) -> Path:
    """The disk with what its containers write; not every container that is alone has one."""
    return disk_folder(places, pod) / "disk.img"


def image_disk(serial: str, roots: Sequence[RootDisk]) -> tuple[DiskSpec, tuple[ImagePart, ...]]:
    """The disk with all of ``roots``, each once, and where each is on it."""
    unique = list({root.chain_id: root for root in roots}.values())
    extents, parts, offset = [], [], 0
    for root in unique:
        data = sum(extent.size_bytes for extent in root.extents)
        tree = (root.verity.tree,) if root.verity else ()
        length = data + sum(extent.size_bytes for extent in tree)
        extents += [(extent.path, extent.size_bytes) for extent in (*root.extents, *tree)]
        place = (0, 0) if len(unique) == 1 else (offset, length)
        checked = (data, root.verity.root_hash) if root.verity else (0, "")
        parts.append(ImagePart(root.chain_id, serial, root.filesystem, *place, *checked))
        offset += length
    return DiskSpec(serial, tuple(extents), read_only=True), tuple(parts)


def part_of(images: Iterable[ImagePart], diff_ids: Sequence[str]) -> ImagePart:
    """Where a VM has the image of these layers."""
    chain = chain_id(diff_ids)
    return next(part for part in images if part.chain_id == chain)


def lower(part: ImagePart) -> Disk:
    disk = Disk(part.serial, part.filesystem)
    if part.length_bytes:
        disk = replace(disk, offset_bytes=part.offset_bytes, length_bytes=part.length_bytes)
    return replace(disk, data_bytes=part.data_bytes, root_hash=part.root_hash) if part.root_hash else disk


def upper(pod: PodRecord, container: str) -> Disk:
    """Where it writes."""
    return Disk(DISK_SERIAL, "ext4") if pod.alone else disk_directory(directory(container))


def disk_directory(name: str) -> Disk:
    """A directory of the pod's disk."""
    return Disk(DISK_SERIAL, "ext4", directory=name)


def directory(container: str) -> str:
    """Of a container, on its pod's disk."""
    return f"container-{container[:12]}"
