"""Named volumes, and which pods use them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.calls import VolumesPruned
from hypercontainer.engine import filters
from hypercontainer.engine.creation import named_volumes
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.filters import question
from hypercontainer.errors import Conflict, HyperError, NotFound
from hypercontainer.volume.store import DEFAULT_BYTES, VolumeStore

_READERS: Mapping[str, filters.Reader[VolumeInfo]] = {
    "name": filters.expression(lambda volume: (volume.name,)),
    "label": filters.labels(lambda volume: volume.labels),
    "dangling": filters.truth(lambda volume: not volume.pods),
    "driver": filters.among(lambda volume: ("local",)),
}


class VolumeService:
    default_bytes = DEFAULT_BYTES  # of a volume that is made without a size

    def __init__(self, directory: Directory, store: VolumeStore, events: EventBus) -> None:
        self._directory = directory
        self._store = store
        self._events = events

    async def create(
        self, name: str, *, size_bytes: int | None = None, labels: Mapping[str, str] | None = None
    ) -> VolumeInfo:
        made = await asyncio.to_thread(self._store.create, name, size_bytes, labels or {})
        self._events.publish("volume", "create", name, **{**(labels or {}), "driver": "local"})
        return made

    async def find(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[VolumeInfo]:
        wanted = question("volumes", _READERS, filters)
        users = self._users()
        found = [self._told(info, users) for info in await asyncio.to_thread(self._store.find)]
        return [info for info in found if wanted(info)]

    async def inspect(self, name: str) -> VolumeInfo:
        return self._told(await asyncio.to_thread(self._store.inspect, name), self._users())

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Conflict, which names the pods, where one uses it."""
        if users := self._users().get(name):
            raise Conflict(f"volume {name} is used by {', '.join(users)}", hint="remove these first")
        try:
            await asyncio.to_thread(self._store.remove, name)
        except NotFound:
            if not force:
                raise
            return
        self._events.publish("volume", "destroy", name, driver="local")

    async def prune(self) -> VolumesPruned:
        """Those that no pod uses.  Conflict while something is set aside, which may use them."""
        self._directory.aside.check_clear()
        removed, freed = [], 0
        for info in await self.find():
            if info.pods:
                continue
            try:
                await self.remove(info.name)
            except HyperError:
                continue  # used since, or gone
            removed.append(info.name)
            freed += info.used_bytes
        return VolumesPruned(tuple(removed), freed)

    def _users(self) -> dict[str, tuple[str, ...]]:
        """Names of pods, and of containers that are alone, by the volume that they use."""
        users: dict[str, tuple[str, ...]] = {}
        for pod in self._directory.pods.values():
            records = pod.records()
            name = pod.record.name or (records[0].name if records else "")
            for volume in named_volumes(pod.record.spec, records):
                users[volume] = (*users.get(volume, ()), name)
        return users

    def _told(self, info: VolumeInfo, users: Mapping[str, tuple[str, ...]]) -> VolumeInfo:
        return msgspec.structs.replace(info, pods=users.get(info.name, ()))
