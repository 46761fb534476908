"""Volumes that become of the other kind: a disk that one VM writes to, or a directory that several do.

What is in one is copied by a VM that has both, in which nothing of an image runs; until all of it is on the host's
disk, the volume is what it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from functools import partial
from typing import BinaryIO, cast
from weakref import WeakValueDictionary

from hypercontainer.agent.wire import VOLUMES_POINT
from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.spec import PodSpec
from hypercontainer.contract.states import State
from hypercontainer.contract.volumes import NamedVolume, Volume
from hypercontainer.engine import names, times
from hypercontainer.engine.container.inside import Inside
from hypercontainer.engine.container.trees import WHOLE, Trees
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.network.network import new_mac
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.beginning import Newcomer
from hypercontainer.engine.sandbox.contents import Brought, Contents
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import PodRecord
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import Conflict
from hypercontainer.linux.waiting import both
from hypercontainer.semantics.mounts import guest_name
from hypercontainer.volume.shared import DISK_KIND, SHARED_KIND

BARE_MIB = 128
ALL = "/."

_WORK = Workers("volumes that are converted", 16, waits=True)


class VolumeKinds:
    def __init__(self, directory: Directory, supplies: Supplies, factory: Factory, events: EventBus) -> None:
        self._directory = directory
        self._supplies = supplies
        self._factory = factory
        self._events = events
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        supplies.claims.settle = self.settle

    async def convert(self, name: str, *, kind: str, size_bytes: int | None = None) -> VolumeInfo:
        """To this ``kind``; one that is of it stays as it is.  ``size_bytes``: of a disk.  Conflict, which names who,
        where a VM has it."""
        async with self._turn(name):
            present = await asyncio.to_thread(self._supplies.volumes.inspect, name)
            if present.kind == kind:
                return present
            if holder := self._supplies.claims.of_volume(name):
                raise Conflict(
                    f"volume {name} is in use by {holder.words}: it is converted while nobody has it",
                    remedies=holder.remedies,
                )
            await self._convert(name, kind, size_bytes)
        self._events.publish("volume", "convert", name, driver="local", type=kind)
        return await asyncio.to_thread(self._supplies.volumes.inspect, name)

    async def settle(self, pod: str, contents: Contents) -> None:
        """Before a pod's VM is brought up: of its volumes those become shared that are disks, that nobody has, and that
        a container of another pod is about to have too, where one of the two writes."""
        volumes = [brought.volume for brought in contents.volumes.values()]
        for volume in volumes:
            if not isinstance(volume.source, NamedVolume):
                continue
            name = volume.source.name
            if name in self._turns:  # it is being converted
                async with self._turn(name):
                    pass
            if self._supplies.volumes.kind(name) == DISK_KIND and self._wanted(pod, name, volume.read_only):
                with contextlib.suppress(Conflict):  # somebody has it: what that means, its claim says
                    await self.convert(name, kind=SHARED_KIND)

    def _wanted(self, pod: str, name: str, read_only: bool) -> bool:
        """Whether another pod has a container that waits to be started for the first time, for which it is too much
        that this one has the volume."""
        for other in self._directory.pods.values():
            if other.id == pod or not any(one.state is State.CREATED for one in other.records()):
                continue
            for theirs in (brought.volume for brought in other.contents().volumes.values()):
                named = isinstance(theirs.source, NamedVolume) and theirs.source.name == name
                if named and not (read_only and theirs.read_only):
                    return True
        return False

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> AsyncIterator[None]:
        lock = self._turns.get(name)
        if lock is None:
            lock = self._turns[name] = asyncio.Lock()
        async with lock:
            yield

    async def _convert(self, name: str, kind: str, size_bytes: int | None) -> None:
        store = self._supplies.volumes
        untouched = await asyncio.to_thread(store.untouched, name)
        making = store.converted(name, kind, size_bytes)
        new = await _WORK.run(making.__enter__)
        try:
            if not untouched:
                await self._copy(name, new)
        except BaseException as error:
            await asyncio.shield(_WORK.run(partial(making.__exit__, type(error), error, error.__traceback__)))
            raise
        await asyncio.shield(_WORK.run(partial(making.__exit__, None, None, None)))

    async def _copy(self, old: str, new: str) -> None:
        contents = _contents(old, new)
        kept: Kept[PodRecord] = Kept(self._record(), lambda changed: None)
        sandbox = Sandbox(kept, self._supplies, self._factory, lambda container: None, lambda action: None)
        newcomer = Newcomer(names.new_id(), f"volume {old}", (), lambda timeout_s: [])
        with self._directory.visit(kept, "its conversion"):
            async with sandbox.visited(newcomer, lambda: contents):
                source, target = (_trees(sandbox, old, volume) for volume in contents.volumes)
                await _piped(await source.pack(ALL), target)

    def _record(self) -> PodRecord:
        return PodRecord(
            id=names.new_id(),
            spec=PodSpec(),
            created=times.now(),
            memory_mib=BARE_MIB,
            cpus=1.0,
            mac=new_mac(),
            uid=self._directory.new_uid(),
        )


def _contents(old: str, new: str) -> Contents:
    """The old one first."""
    volumes = [Volume(names.new_id(), NamedVolume(name)) for name in (old, new)]
    brought: Mapping[str, Brought] = {volume.name: Brought(volume, None) for volume in volumes}
    return Contents(f"volume {old}", (), brought)


def _trees(sandbox: Sandbox, what: str, volume: str) -> Trees:
    root = f"{VOLUMES_POINT}/{guest_name(volume)}"
    return Trees(Inside("", lambda: f"volume {what}", sandbox.running, root=root))


async def _piped(archive: AsyncGenerator[bytes, None], target: Trees) -> None:
    """What one gives the other gets, by a pipe, since it reads in a thread."""
    read, write = os.pipe2(os.O_CLOEXEC)
    with os.fdopen(read, "rb") as content, os.fdopen(write, "wb", buffering=0) as sink:

        async def send() -> None:
            with sink:
                async with contextlib.aclosing(archive):
                    async for data in archive:
                        await _WORK.run(partial(_all, sink.fileno(), data))

        async def take() -> None:
            try:
                await target.unpack(ALL, cast(BinaryIO, content), owner=WHOLE)
            finally:
                content.close()  # who sends waits no more

        await both(send(), take())


def _all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
