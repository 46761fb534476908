"""Which VM has a volume, and one that is brought up for it where none has: nothing of an image runs in that."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from weakref import WeakValueDictionary

from hypercontainer.agent.wire import VOLUMES_POINT
from hypercontainer.contract.spec import PodSpec
from hypercontainer.contract.volumes import NamedVolume, Volume
from hypercontainer.engine import names, times
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.network.network import new_mac
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import storage
from hypercontainer.engine.sandbox.beginning import Newcomer
from hypercontainer.engine.sandbox.contents import Brought, Contents
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import Conflict
from hypercontainer.semantics.mounts import guest_name
from hypercontainer.semantics.nfs import words

BARE_MIB = 128


@dataclass(frozen=True)
class Having:
    """A VM that has the volume: by this ``name`` in the guest, on the disk ``serial``."""

    live: Live
    name: str
    serial: str

    @property
    def root(self) -> str:
        return f"{VOLUMES_POINT}/{self.name}"


@dataclass
class _Bare:
    """``held``: what is given back with the last visitor."""

    sandbox: Sandbox
    contents: Contents
    held: contextlib.ExitStack
    visitors: int = 0


class VolumeVMs:
    def __init__(self, directory: Directory, supplies: Supplies, factory: Factory) -> None:
        self._directory = directory
        self._supplies = supplies
        self._factory = factory
        self._bare: dict[str, _Bare] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def turn(self, volume: str) -> AsyncIterator[None]:
        """One at a time makes something else of a volume."""
        lock = self._turns.setdefault(volume, asyncio.Lock())
        async with lock:
            yield

    def is_busy(self, volume: str) -> bool:
        """Whether somebody has its turn."""
        return volume in self._turns and self._turns[volume].locked()

    @contextlib.contextmanager
    def still(
        self, volume: str, *, replaced: bool, doing: str = "copied", but: str | None = None
    ) -> Iterator[None]:
        """See ``Claims.still``."""
        with self._supplies.claims.still(volume, replaced=replaced, doing=doing, but=but):
            yield

    async def writer(self, volume: str) -> Pod | None:
        """Whose VM writes to it."""
        return await self._user(volume, read_only=False)

    @contextlib.asynccontextmanager
    async def running(self, pod: Pod, volume: str) -> AsyncIterator[Having]:
        """Within, the pod's VM, which has the volume, is there."""
        found = _mounted(pod, volume)
        if found is None:
            raise _gone(volume)
        if pod.sandbox.stalled:
            raise Conflict(
                f"volume {volume}: the VM of {pod.called} stands still until there is room on the host for what it "
                "writes",
                hint="free some space",
            )
        async with pod.sandbox.lent(names.new_id()) as live:
            yield Having(live, guest_name(found.name), storage.serial(found))

    @contextlib.asynccontextmanager
    async def having(self, volume: str, *, write: bool) -> AsyncIterator[Having]:
        """Within, a VM has it: the one that writes to it, or, unless it is to be written to, that reads it, else one of
        its own, which, of a disk, nobody else's may have meanwhile.  NotFound; Conflict."""
        await asyncio.to_thread(self._supplies.volumes.content, volume)
        pod = await self.writer(volume)
        if pod is None and not write:
            pod = await self._user(volume, read_only=True)
        share = await asyncio.to_thread(self._supplies.volumes.nfs, volume)
        if pod is None and share is not None:
            raise Conflict(
                f"volume {volume} is the directory {words(share)}, which a VM that is brought up for a copy does not "
                "reach: that has no network",
                hint="it is copied through a container that has the volume, while it runs",
            )
        around = self._brought_up(volume) if pod is None else self.running(pod, volume)
        async with around as having:
            yield having

    async def _user(self, volume: str, *, read_only: bool) -> Pod | None:
        for pod in tuple(self._directory.pods.values()):
            await pod.recovered.wait()
            claimed = pod.record.claimed.get(f"volume {volume}")
            if claimed is read_only and pod.sandbox.live is not None and _mounted(pod, volume) is not None:
                return pod
        return None

    @contextlib.asynccontextmanager
    async def _brought_up(self, volume: str) -> AsyncIterator[Having]:
        bare = self._bare.get(volume)
        if bare is None:
            bare = self._bare[volume] = self._made(
                names.new_id(), "a copy of its files, or a snapshot,", volume
            )
        bare.visitors += 1
        try:
            async with _visited(bare) as (having,):
                yield having
        finally:
            bare.visitors -= 1
            if not bare.visitors:
                bare.held.close()
                del self._bare[volume]

    @contextlib.asynccontextmanager
    async def both(self, vm: str, what: str, volume: str, other: str) -> AsyncIterator[list[Having]]:
        """Within, a VM of its own, by this ID, has both, for ``what``."""
        bare = self._made(vm, what, volume, other)
        with bare.held:
            async with _visited(bare) as having:
                yield having

    def _made(self, vm: str, what: str, *volumes: str) -> _Bare:
        machine = self._supplies.machine
        record = PodRecord(
            id=vm,
            spec=PodSpec(),
            created=times.now(),
            memory_mib=BARE_MIB,
            cpus=1.0,
            mac=new_mac(),
            initrd=str(machine.initrd) if machine.initrd else None,
            kernel_args=machine.kernel_args,
            uid=self._directory.new_uid(),
        )
        kept: Kept[PodRecord] = Kept(record, lambda changed: None)
        sandbox = Sandbox(kept, self._supplies, self._factory, lambda container: None, lambda action: None)
        held = contextlib.ExitStack()
        held.enter_context(self._directory.visit(kept, what))
        mounted = [Volume(names.new_id(), NamedVolume(name)) for name in volumes]
        brought = {volume.name: Brought(volume, None) for volume in mounted}
        return _Bare(sandbox, Contents(f"volume {volumes[0]}", (), brought), held)


@contextlib.asynccontextmanager
async def _visited(bare: _Bare) -> AsyncIterator[list[Having]]:
    """Within, its VM has its volumes."""
    newcomer = Newcomer(names.new_id(), bare.contents.name, (), lambda timeout_s: [])
    volumes = [brought.volume for brought in bare.contents.volumes.values()]
    async with bare.sandbox.visited(newcomer, lambda: bare.contents):
        live = bare.sandbox.running()
        yield [Having(live, guest_name(one.name), storage.serial(one)) for one in volumes]


def _mounted(pod: Pod, name: str) -> Volume | None:
    """What a volume of hyperd's is in a pod whose VM has it."""
    for brought in pod.contents().volumes.values():
        source = brought.volume.source
        is_it = isinstance(source, NamedVolume) and source.name == name
        if is_it and guest_name(brought.volume.name) in pod.record.mounted:
            return brought.volume
    return None


def _gone(volume: str) -> Conflict:
    return Conflict(f"volume {volume}: the VM that had it has ended", hint="try again")
