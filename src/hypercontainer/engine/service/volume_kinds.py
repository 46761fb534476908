"""Volumes that become of the other kind: a disk that one VM writes to, or a directory that several do.

What is in one is copied by a VM that has both, in which nothing of an image runs; until all of it is on the host's
disk, the volume is what it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Mapping
from functools import partial

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.states import State
from hypercontainer.contract.volumes import NamedVolume
from hypercontainer.engine import names
from hypercontainer.engine.container.trees import WHOLE
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.sandbox.claims import VOLUME
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.service.volume_files import trees_of
from hypercontainer.engine.service.volume_vms import VolumeVMs
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import Conflict, NotFound, Remedy
from hypercontainer.linux.waiting import whole
from hypercontainer.semantics.nfs import words
from hypercontainer.volume.shared import DISK_KIND, SHARED_KIND

ALL = "/."
VISITS_S = 30.0  # for visits to end, of who wants a volume that they have

_ABOUT_TO = (State.CREATED, State.STARTING)
_WORK = Workers("volumes that are converted", 16, waits=True)


class VolumeKinds:
    def __init__(self, directory: Directory, supplies: Supplies, vms: VolumeVMs, events: EventBus) -> None:
        self._directory = directory
        self._store = supplies.volumes
        self._vms = vms
        self._events = events
        self._converting: dict[str, asyncio.Event] = {}  # set when it is over
        supplies.claims.settle = self.settle

    async def convert(self, name: str, *, kind: str, size_bytes: int | None = None) -> VolumeInfo:
        """To this ``kind``; one that is of it stays as it is.  ``size_bytes``: of a disk.  Conflict, which names who,
        where a VM has it, and where it has snapshots."""
        async with self._vms.turn(name):
            self._converting[name] = over = asyncio.Event()
            try:
                present = await asyncio.to_thread(self._store.inspect, name)
                if present.kind == kind:
                    return present
                _check(name, present)
                vm = names.new_id()
                with self._vms.still(name, replaced=True, doing="converted", but=vm):
                    await self._convert(name, kind, size_bytes, vm)
            finally:
                del self._converting[name]
                over.set()
        self._events.publish("volume", "convert", name, driver="local", type=kind)
        return await asyncio.to_thread(self._store.inspect, name)

    async def settle(self, pod: str, contents: Contents, *, bare: bool) -> None:
        """Before a pod's VM is brought up: of its volumes those become shared that are disks, that nobody has, and that
        a container of another pod is about to have too, where one of the two writes; not by a VM that is ``bare``, for
        visits alone.  Whom such a VM has one for is waited for.

        When it returns nothing of this is under way until something else is awaited.
        """
        if pod not in self._directory.pods:
            return  # a VM for work on volumes takes them as they are
        wanted = {
            volume.source.name: volume.read_only
            for volume in (brought.volume for brought in contents.volumes.values())
            if isinstance(volume.source, NamedVolume)
        }
        tried = set(wanted) if bare else set[str]()
        until = asyncio.get_running_loop().time() + VISITS_S
        while step := self._step(pod, wanted, tried, until):
            await step

    def _step(
        self, pod: str, wanted: Mapping[str, bool], tried: set[str], until: float
    ) -> Awaitable[object] | None:
        """What has to happen first.  ``wanted``: whether it is only to be read."""
        for name, read_only in wanted.items():
            if name in self._converting:
                return self._converting[name].wait()
            visit = self._visit(pod, name)
            if visit is not None and asyncio.get_running_loop().time() < until:
                return _over(visit, until)
            # What it means for who wants it now that somebody is busy with it, the claim says.
            if name in tried or self._vms.is_busy(name):
                continue
            if self._store.kind(name) == DISK_KIND and self._is_wanted(pod, name, read_only=read_only):
                tried.add(name)
                return self._share(name)
        return None

    async def _share(self, name: str) -> None:
        with contextlib.suppress(Conflict, NotFound):  # in use, with snapshots, not made yet
            await self.convert(name, kind=SHARED_KIND)

    def _visit(self, pod: str, name: str) -> asyncio.Event | None:
        """Of the files of another pod, which has this volume meanwhile: set when it is over."""
        claim = f"{VOLUME} {name}"
        others = (other for other in self._directory.pods.values() if other.id != pod)
        visits = (other.sandbox.visit for other in others if claim in other.record.claimed)
        return next((visit for visit in visits if visit is not None), None)

    def _is_wanted(self, pod: str, name: str, *, read_only: bool) -> bool:
        """Whether another pod has a container that is being started, or waits to be for the first time, for which it is
        too much that this one has the volume."""
        for other in self._directory.pods.values():
            if other.id == pod or not any(one.state in _ABOUT_TO for one in other.records()):
                continue
            for theirs in (brought.volume for brought in other.contents().volumes.values()):
                named = isinstance(theirs.source, NamedVolume) and theirs.source.name == name
                if named and not (read_only and theirs.read_only):
                    return True
        return False

    async def _convert(self, name: str, kind: str, size_bytes: int | None, vm: str) -> None:
        untouched = await asyncio.to_thread(self._store.untouched, name)
        making = self._store.converted(name, kind, size_bytes)
        new = await _WORK.run(making.__enter__)
        try:
            if not untouched:
                await self._copy(name, new, vm)
        except BaseException as error:
            await whole(_WORK.run(partial(making.__exit__, type(error), error, error.__traceback__)))
            raise
        await whole(_WORK.run(partial(making.__exit__, None, None, None)))

    async def _copy(self, old: str, new: str, vm: str) -> None:
        async with self._vms.both(vm, "its conversion", old, new) as having:
            source, target = (trees_of(each, old) for each in having)
            await target.unpack(ALL, await source.pack(ALL), owner=WHOLE)


def _check(name: str, present: VolumeInfo) -> None:
    """Conflict where it is no disk and no directory of this host, or has what a directory has not."""
    if present.nfs is not None:
        raise Conflict(
            f"volume {name} is the directory {words(present.nfs)}, which any number may write to already"
        )
    if present.snapshots:
        raise Conflict(
            f"volume {name} has {present.snapshots} snapshots, which only a disk has",
            remedies=[Remedy("volumes.remove_snapshot", name)],
        )


async def _over(visit: asyncio.Event, until: float) -> None:
    """Or it is late, and the claim says who has the volume."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await visit.wait()
