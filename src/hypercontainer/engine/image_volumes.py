"""Volumes that are images: whether there is what containers mount of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping

from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.contract.volumes import ImageVolume, Volume
from hypercontainer.engine.state import MountedImage
from hypercontainer.errors import InvalidArgument
from hypercontainer.rootfs import LayerStore, RootReader
from hypercontainer.rootfs.tree import Inode


def check_paths(
    containers: Iterable[ContainerSpec],
    volumes: Mapping[str, Volume],
    images: Mapping[str, MountedImage],
    layers: LayerStore,
) -> None:
    """That images have the paths that are mounted of them.  Blocks; InvalidArgument names image and path."""
    wanted: dict[str, set[str]] = {}
    for container in containers:
        for mount in container.mounts:
            if mount.sub_path and mount.volume in images:
                wanted.setdefault(mount.volume, set()).add(mount.sub_path)
    for name, paths in wanted.items():
        source = volumes[name].source
        assert isinstance(source, ImageVolume)
        with RootReader(layers.root_disk(images[name].diff_ids).extents) as reader:
            for path in sorted(paths):
                if _is_missing(reader, path):
                    raise InvalidArgument(
                        f"{source.reference} has no {path[:200]!r} in it",
                        field="mounts",
                        takes="a path below the root of what is mounted",
                    )


def _is_missing(reader: RootReader, path: str) -> bool:
    """Links are the guest's to follow, who says then what is missing."""
    inode: Inode | None = reader.root()
    for part in filter(lambda part: part not in ("", "."), path.split("/")):
        if inode is None or stat.S_ISLNK(inode.mode):
            return inode is None
        nid = dict(reader.entries(inode)).get(os.fsencode(part)) if stat.S_ISDIR(inode.mode) else None
        inode = None if nid is None else reader.inode(nid)
    return inode is None
