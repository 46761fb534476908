"""Volumes that a container is given with its creation: those that its image declares, and those that it brings."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence

import msgspec

from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import EmptyDir, NamedVolume, Volume, VolumeMount
from hypercontainer.engine import names
from hypercontainer.engine.coming import Coming
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.waiting import ended, whole
from hypercontainer.rootfs import RootReader
from hypercontainer.rootfs.tree import Directory
from hypercontainer.semantics import mounts
from hypercontainer.volume.store import VolumeStore

DECLARED_MAX = 64  # by one image, which anybody may have made


def provided(
    spec: ContainerSpec, declared: Sequence[str], *, for_pod: bool
) -> tuple[ContainerSpec, tuple[str, ...]]:
    """It with a volume at each place that its image has ``declared`` and where the user mounts nothing, and names for
    those that have none; and all places at which a volume without a name is wanted.

    ``for_pod``: it is created with its pod, with which such volumes of the image's live and die.
    """
    volumes = [_named(volume) for volume in spec.volumes]
    anonymous = {one.name for one in volumes if isinstance(one.source, NamedVolume) and one.source.anonymous}
    theirs, wanted = mounts.places(spec), _places(spec, declared)
    own = {place: _own(for_pod=for_pod) for place in wanted if place not in theirs}
    added = [VolumeMount(volume.name, place, copy_up=True) for place, volume in own.items()]
    unnamed = [mounts.place("mounts", one.path) for one in spec.mounts if one.volume in anonymous]
    spec = msgspec.structs.replace(spec, volumes=(*volumes, *own.values()), mounts=(*spec.mounts, *added))
    return spec, tuple(sorted({*wanted, *unnamed}))


def _named(volume: Volume) -> Volume:
    if not isinstance(volume.source, NamedVolume):
        return volume
    name = volume.source.name or names.new_id()
    source = msgspec.structs.replace(volume.source, name=name, anonymous=not volume.source.name)
    return msgspec.structs.replace(volume, source=source)


def _own(*, for_pod: bool) -> Volume:
    identifier = names.new_id()
    if for_pod:
        return Volume(f"image-{identifier[:16]}", EmptyDir(mode=0o755))
    return Volume(identifier, NamedVolume(identifier, anonymous=True))


def _places(spec: ContainerSpec, declared: Sequence[str]) -> list[str]:
    places = sorted({posixpath.normpath("/" + path.lstrip("/")) for path in declared})
    if "/" in places:
        raise InvalidArgument(f"image {spec.image} wants a volume in place of its root")
    if len(places) > DECLARED_MAX:
        raise InvalidArgument(f"image {spec.image} wants {len(places)} volumes: {DECLARED_MAX} at most")
    return [mounts.place("mounts", place) for place in places]


def named_volumes(spec: PodSpec, records: Iterable[ContainerRecord]) -> set[str]:
    """Names of hyperd's volumes that a pod uses."""
    brought = (volume for record in records for volume in record.spec.volumes)
    return {v.source.name for v in (*spec.volumes, *brought) if isinstance(v.source, NamedVolume)}


class Provisions:
    """Makes hyperd's volumes for who is created."""

    def __init__(self, store: VolumeStore, roots: Coming, events: EventBus) -> None:
        self._store = store
        self._roots = roots
        self._events = events

    @contextlib.asynccontextmanager
    async def made(self, wanted: Iterable[Volume]) -> AsyncIterator[frozenset[str]]:
        """Those that are missing, and what they are called in their pod; where what is done within fails, the ones
        that nobody has named go again."""
        new: dict[str, NamedVolume] = {}
        try:
            for volume in wanted:
                source = volume.source
                if isinstance(source, NamedVolume):
                    await self._make(source, volume.name, new)
            yield frozenset(new)
        except BaseException:
            for name in (source.name for source in new.values() if source.anonymous):
                await whole(asyncio.to_thread(self._store.remove, name))
                self._events.publish("volume", "destroy", name, driver="local")
            raise

    async def filling(self, record: ContainerRecord, new: Collection[str]) -> ContainerRecord:
        """It, with which of the ``new`` volumes its first start fills although it may only read them."""
        places: dict[str, list[str]] = {}
        for mount in record.spec.mounts:
            if mount.copy_up and mount.read_only and mount.volume in new:
                places.setdefault(mount.volume, []).append(mount.path)
        if not places:
            return record
        fills = await asyncio.to_thread(self._found, record.diff_ids, places)
        return msgspec.structs.replace(record, fills=fills)

    def _found(self, diff_ids: tuple[str, ...], places: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
        """Those of which the image has a place as a directory."""
        with RootReader(self._roots.root_disk(diff_ids).extents) as reader:

            def has(path: str) -> bool:
                inode = reader.lookup(os.fsencode(path))
                return inode is not None and isinstance(inode.body, Directory)

            return tuple(name for name, paths in places.items() if any(map(has, paths)))

    async def _make(self, source: NamedVolume, name: str, new: dict[str, NamedVolume]) -> None:
        """Who breaks off waits for the thread, or nobody would know of what it has made."""
        making = asyncio.ensure_future(
            asyncio.to_thread(
                self._store.make_missing,
                source.name,
                source.size_bytes,
                source.told,
                source.type,
                source.nfs,
            )
        )
        try:
            await asyncio.shield(making)
        finally:
            await ended(making)
            if not making.exception() and making.result():
                new[name] = source
                self._events.publish("volume", "create", source.name, **{**source.told, "driver": "local"})
