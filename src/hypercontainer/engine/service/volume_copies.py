"""Snapshots of volumes, volumes made of others, and volumes put back to what they were; and volumes that grow.

What is copied is a file system that was let go: of a volume that a VM writes to, the guest writes back what there is to
write and then nothing, while it is copied.  It waits so for ``STILL_S`` at most, whatever becomes of this hyperd.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.volumes import SnapshotInfo
from hypercontainer.engine import times
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.service.volume_files import VolumeFiles
from hypercontainer.engine.service.volume_vms import Having, VolumeVMs
from hypercontainer.errors import AgentError, Conflict, GuestError, HyperError, Remedy, Unavailable
from hypercontainer.hypervisor import locks
from hypercontainer.linux.waiting import ended, whole
from hypercontainer.semantics.nfs import words
from hypercontainer.volume import ext4, snapshots
from hypercontainer.volume.shared import DISK_KIND, SECTOR_BYTES, SHARED_KIND
from hypercontainer.volume.store import VolumeStore, host_disk

STILL_S = 30
FREEZE_TIMEOUT_S = 25.0  # for the guest to write back what there is to write

T = TypeVar("T")


class VolumeCopies(VolumeFiles):
    def __init__(self, vms: VolumeVMs, store: VolumeStore, events: EventBus) -> None:
        super().__init__(vms)
        self._store = store
        self._events = events

    async def resize(self, name: str, *, size_bytes: int) -> VolumeInfo:
        """Makes it larger: at once, where a VM writes to it, else when it is next mounted to be written to.
        InvalidArgument for less than it has."""
        async with self._vms.turn(name):
            await self._disk(name)
            size_bytes = await asyncio.to_thread(self._store.grow, name, size_bytes)
            pod = await self._vms.writer(name)
            if pod is not None:
                try:
                    async with self._vms.running(pod, name) as having:
                        await having.live.vm.grow_disk(having.serial, size_bytes)
                        await having.live.agent.grow_volume(having.name, size_bytes)
                except HyperError as error:
                    raise Unavailable(
                        f"volume {name} has {size_bytes} bytes now, but not in the VM of {pod.called}: {error}",
                        hint="it has them there when that is started again",
                    ) from error
        self._events.publish("volume", "resize", name, driver="local", size=str(size_bytes))
        return await asyncio.to_thread(self._store.inspect, name)

    # ------------------------------------------------------------------------------------- snapshots

    async def snapshot(self, name: str, *, snapshot: str | None = None) -> SnapshotInfo:
        """Of what it is now; ``snapshot`` None: named by the time.  Conflict where there is one of this name."""
        async with self._vms.turn(name):
            folder = (await self._disk(name)).parent
            chosen = await self._on_disk(name, partial(snapshots.check_new, folder, snapshot))
            async with self._copied(name, folder) as copied:
                kept = await self._on_disk(name, partial(snapshots.keep, copied, chosen))
        self._events.publish("volume", "snapshot", name, driver="local", snapshot=chosen)
        return _told(name, kept)

    async def snapshots(self, name: str) -> list[SnapshotInfo]:
        """The oldest first."""
        folder = (await asyncio.to_thread(self._store.content, name)).parent
        return [_told(name, kept) for kept in await self._on_disk(name, partial(snapshots.kept, folder))]

    async def remove_snapshot(self, name: str, *, snapshot: str) -> None:
        """NotFound."""
        folder = (await asyncio.to_thread(self._store.content, name)).parent
        path = await asyncio.to_thread(snapshots.find, folder, snapshot)
        await self._on_disk(name, path.unlink)
        self._events.publish("volume", "remove_snapshot", name, driver="local", snapshot=snapshot)

    async def restore(self, name: str, *, snapshot: str) -> VolumeInfo:
        """It is again what it was then; what it has become since is lost.  Conflict while a VM has it."""
        async with self._vms.turn(name):
            disk = await self._disk(name)
            path = await asyncio.to_thread(snapshots.find, disk.parent, snapshot)
            still = self._vms.still(name, replaced=True, doing="restored")
            with still, _locked(disk, read_only=False):
                copied = await self._made(name, path, disk.parent)
                try:
                    await self._on_disk(name, partial(snapshots.put, copied, disk))
                except BaseException:
                    copied.unlink(missing_ok=True)
                    raise
        self._events.publish("volume", "restore", name, driver="local", snapshot=snapshot)
        return await asyncio.to_thread(self._store.inspect, name)

    async def clone(
        self,
        name: str,
        *,
        target: str,
        snapshot: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VolumeInfo:
        """A new volume ``target`` of what it is now, or was at the ``snapshot``."""
        async with self._vms.turn(name):
            folder = (await self._disk(name)).parent
            self._store.check_free(target)
            if snapshot is None:
                around = self._copied(name, folder)
            else:
                path = await asyncio.to_thread(snapshots.find, folder, snapshot)
                around = self._copy_of(name, path, folder)
            async with around as copied:

                def put(at: Path, _size_bytes: int) -> None:
                    copied.replace(at)

                making = partial(self._store.create, target, copied.stat().st_size, labels, DISK_KIND, put)
                made = await self._on_disk(name, making)
        self._events.publish("volume", "create", target, **{**(labels or {}), "driver": "local"})
        return made

    async def _disk(self, name: str) -> Path:
        """NotFound; Conflict where it has none."""
        if share := await asyncio.to_thread(self._store.nfs, name):
            raise Conflict(
                f"volume {name} is the directory {words(share)}: its size and its snapshots are its server's affair"
            )
        if await asyncio.to_thread(self._store.kind, name) == SHARED_KIND:
            await asyncio.to_thread(self._store.content, name)
            raise Conflict(
                f"volume {name} is shared: it is a directory, and only disks have a size and snapshots",
                remedies=[Remedy("volumes.convert", name, options={"kind": DISK_KIND})],
            )
        return await asyncio.to_thread(self._store.disk, name)

    # ------------------------------------------------------------------------------------- consistent copies

    @contextlib.asynccontextmanager
    async def _copied(self, name: str, folder: Path) -> AsyncIterator[Path]:
        """A copy of what it is now, with an empty journal; gone afterwards, unless it has got another name."""
        disk, copied = await self._disk(name), None
        try:
            if await self._vms.writer(name) is not None or await asyncio.to_thread(ext4.needs_recovery, disk):
                async with self._vms.having(name, write=True) as having:
                    copied = await self._frozen(name, having, disk, folder)
            else:
                with self._vms.still(name, replaced=False), _locked(disk, read_only=True):
                    copied = await self._made(name, disk, folder)
            yield copied
        finally:
            if copied is not None:
                copied.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def _copy_of(self, name: str, path: Path, folder: Path) -> AsyncIterator[Path]:
        copied = await self._made(name, path, folder)
        try:
            yield copied
        finally:
            copied.unlink(missing_ok=True)

    async def _frozen(self, name: str, having: Having, disk: Path, folder: Path) -> Path:
        """The copy that is made while the guest writes nothing."""
        agent = having.live.agent
        try:
            await agent.freeze_volume(having.name, STILL_S * 1000, timeout_s=FREEZE_TIMEOUT_S)
        except BaseException:
            with contextlib.suppress(AgentError):  # it may stand still all the same
                agent.thaw_volume(having.name).add_done_callback(
                    lambda done: done.cancelled() or done.exception()
                )
            raise
        with contextlib.ExitStack() as undo:
            try:
                copied = await self._made(name, disk, folder)
                undo.callback(copied.unlink)
            finally:
                thawed = await whole(_thaw(having))
            if not thawed:
                raise Unavailable(
                    f"volume {name}: its copy took more than the {STILL_S} s for which nothing is written to it",
                    hint="end who writes to it, or keep volumes on a file system that shares copies (XFS, Btrfs)",
                )
            undo.pop_all()
        return copied

    async def _made(self, name: str, source: Path, folder: Path) -> Path:
        return await self._on_disk(
            name, partial(snapshots.copy, source, folder), undo=lambda made: made.unlink()
        )

    async def _on_disk(
        self, name: str, work: Callable[[], T], *, undo: Callable[[T], object] = lambda made: None
    ) -> T:
        """In a thread.  Who breaks off waits for it, and what it has made is undone."""

        def do() -> T:
            with host_disk(f"work on volume {name}", self._store.root):
                return work()

        doing = asyncio.ensure_future(asyncio.to_thread(do))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await ended(doing)
            if not doing.exception():
                undo(doing.result())
            raise


async def _thaw(having: Having) -> bool:
    """Whether it had stood still until now."""
    try:
        await having.live.agent.thaw_volume(having.name)
    except GuestError as error:
        if error.errno == errno.ESTALE:
            return False
        raise
    return True


@contextlib.contextmanager
def _locked(disk: Path, *, read_only: bool) -> Iterator[None]:
    """Against other hyperds' VMs too; Conflict where one has it."""
    fd = os.open(disk, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    try:
        if not locks.take(fd, read_only=read_only):
            raise Conflict(f"disk {disk} is in use by another virtual machine")
        yield
    finally:
        os.close(fd)


def _told(volume: str, kept: snapshots.Kept) -> SnapshotInfo:
    return SnapshotInfo(
        name=kept.name,
        volume=volume,
        created=times.from_ns(kept.stat.st_mtime_ns),
        size_bytes=kept.stat.st_size,
        used_bytes=kept.stat.st_blocks * SECTOR_BYTES,
    )
