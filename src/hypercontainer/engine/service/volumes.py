"""Named volumes: made, found, removed; and which pods use them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.volume_calls import VolumesPruned
from hypercontainer.contract.volumes import ANONYMOUS_LABEL, NfsShare
from hypercontainer.engine import filters, names
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.filters import question
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.service.volume_copies import VolumeCopies
from hypercontainer.engine.service.volume_kinds import VolumeKinds
from hypercontainer.engine.service.volume_vms import VolumeVMs
from hypercontainer.errors import Conflict, HyperError, NotFound, Remedy
from hypercontainer.semantics.nfs import check as check_share
from hypercontainer.semantics.nfs import words
from hypercontainer.volume import shared
from hypercontainer.volume.shared import DISK_KIND
from hypercontainer.volume.store import DEFAULT_BYTES, VolumeStore, rounded

TRIES = 5  # to make what others make and remove at the same time

_READERS: Mapping[str, filters.Reader[VolumeInfo]] = {
    "name": filters.expression(lambda volume: (volume.name,)),
    "label": filters.labels(lambda volume: volume.labels),
    "dangling": filters.truth(lambda volume: not volume.pods),
    "driver": filters.among(lambda volume: ("local",)),
}


def _everything(value: str) -> filters.Question[VolumeInfo]:
    """Whether it is to go: one that nobody has named in any case."""
    wanted = filters.truth(lambda everything: bool(everything))(value)
    return lambda volume: ANONYMOUS_LABEL in volume.labels or wanted(True)


_PRUNED: Mapping[str, filters.Reader[VolumeInfo]] = {
    "all": _everything,
    "label": filters.labels(lambda volume: volume.labels),
    "label!": filters.without_labels(lambda volume: volume.labels),
}


class VolumeService(VolumeCopies):
    default_bytes = DEFAULT_BYTES  # of a volume that is made without a size

    def __init__(
        self, directory: Directory, store: VolumeStore, events: EventBus, supplies: Supplies, factory: Factory
    ) -> None:
        super().__init__(VolumeVMs(directory, supplies, factory), store, events)
        self._kinds = VolumeKinds(directory, supplies, self._vms, events)
        self._directory = directory

    async def create(
        self,
        name: str | None = None,
        *,
        size_bytes: int | None = None,
        labels: Mapping[str, str] | None = None,
        kind: str | None = None,
        nfs: NfsShare | None = None,
    ) -> VolumeInfo:
        """``name`` None: an ID, and a label that says that nobody has named it; ``kind`` None: as is configured.
        ``nfs``: it is this directory of a server.  One of this name is taken as it is, as Docker does, and its labels
        stay; Conflict where it is of another size or kind, or another server's."""
        if nfs is not None:
            check_share(nfs)
        told = dict(labels or {}) if name else {ANONYMOUS_LABEL: "", **(labels or {})}
        for more in range(TRIES, 0, -1):
            if name and (present := await self._present(name, size_bytes, kind, nfs)):
                return present
            create = partial(self._store.create, nfs=nfs)
            try:
                made = await asyncio.to_thread(create, name or names.new_id(), size_bytes, told, kind)
                break
            except (Conflict, NotFound):  # somebody has made it just now, or removed it
                if more == 1:
                    raise
        self._events.publish("volume", "create", made.name, **{**told, "driver": "local"})
        return made

    async def _present(
        self, name: str, size_bytes: int | None, kind: str | None, nfs: NfsShare | None
    ) -> VolumeInfo | None:
        try:
            present = await self.inspect(name)
        except NotFound:
            return None
        if nfs is not None:
            shared.check_nfs(name, kind, size_bytes)
        if nfs != present.nfs and (nfs or kind or size_bytes is not None):
            what = f"{words(present.nfs)} with the options {present.nfs.options!r}" if present.nfs else ""
            raise Conflict(
                f"there is a volume {name} already, which is {what or 'of type ' + present.kind}",
                remedies=[Remedy("volumes.remove", name)],
            )
        if nfs is not None:
            return present
        wanted = kind or (DISK_KIND if size_bytes is not None else present.kind)
        shared.check(name, wanted, size_bytes)
        if wanted != present.kind:
            raise Conflict(
                f"there is a volume {name} already, of type {present.kind} and not {wanted}",
                remedies=[
                    Remedy("volumes.convert", name, options={"kind": wanted}),
                    Remedy("volumes.remove", name),
                ],
            )
        if size_bytes is not None and rounded(size_bytes) != present.size_bytes:
            raise Conflict(
                f"there is a volume {name} already, of {present.size_bytes} bytes and not {size_bytes}",
                remedies=[Remedy("volumes.resize", name), Remedy("volumes.remove", name)],
            )
        return present

    async def convert(self, name: str, *, kind: str, size_bytes: int | None = None) -> VolumeInfo:
        """As VolumeKinds says."""
        return await self._kinds.convert(name, kind=kind, size_bytes=size_bytes)

    async def find(self, *, filters: Mapping[str, Sequence[str]] | None = None) -> list[VolumeInfo]:
        wanted = question("volumes", _READERS, filters)
        users = self._directory.volume_users()
        found = [self._told(info, users) for info in await asyncio.to_thread(self._store.find)]
        return [info for info in found if wanted(info)]

    async def inspect(self, name: str) -> VolumeInfo:
        return self._told(await asyncio.to_thread(self._store.inspect, name), self._directory.volume_users())

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Conflict, which names the pods, where one uses it."""
        self._check_unused(name)
        try:
            async with self._vms.turn(name):
                self._check_unused(name)  # others may have come while this one waited
                with self._vms.still(name, replaced=True, doing="removed"):
                    await asyncio.to_thread(self._store.remove, name)
        except NotFound:
            if not force:
                raise
            return
        self._events.publish("volume", "destroy", name, driver="local")

    def _check_unused(self, name: str) -> None:
        if users := self._directory.volume_users().get(name):
            raise Conflict(f"volume {name} is used by {', '.join(users)}", hint="remove these first")

    async def prune(
        self,
        *,
        filters: Mapping[str, Sequence[str]] | None = None,
        all: bool = False,  # noqa: A002 - the contract's word
    ) -> VolumesPruned:
        """Those that no pod uses: that nobody has named, or, with ``all`` or a filter of this name, also those that
        somebody has.  Conflict while something is set aside, which may use them."""
        self._directory.aside.check_clear()
        given = dict(filters or {})
        said = question("volumes", _PRUNED, {"all": given.get("all", ("false",))})
        wanted = question("volumes", _PRUNED, {key: given[key] for key in given if key != "all"})
        removed, freed = [], 0
        for info in await self.find():
            if info.pods or not (all or said(info)) or not wanted(info):
                continue
            try:
                await self.remove(info.name)
            except HyperError:
                continue  # used since, or gone
            removed.append(info.name)
            freed += info.used_bytes + info.snapshots_bytes
        return VolumesPruned(tuple(removed), freed)

    def _told(self, info: VolumeInfo, users: Mapping[str, tuple[str, ...]]) -> VolumeInfo:
        return msgspec.structs.replace(info, pods=users.get(info.name, ()))
