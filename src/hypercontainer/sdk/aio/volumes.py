"""Named volumes: disks and directories that outlive the containers which mount them."""

from __future__ import annotations

import builtins
import os
from typing import BinaryIO

from hypercontainer.contract.answers import PathFacts, VolumeInfo
from hypercontainer.contract.volume_calls import SnapshotList, VolumeList, VolumesPruned
from hypercontainer.contract.volumes import NfsShare, SnapshotInfo
from hypercontainer.sdk.aio.archives import Archive, packed, unpacked
from hypercontainer.sdk.aio.calls import Filters, as_query
from hypercontainer.sdk.options import Pairs, Size, size_bytes
from hypercontainer.sdk.transport import Api


class AsyncVolumes:
    """All named volumes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(
        self,
        name: str | None = None,
        *,
        size: Size | None = None,
        labels: Pairs | None = None,
        kind: str | None = None,
        nfs: NfsShare | None = None,
    ) -> VolumeInfo:
        """Makes an empty volume; it grows up to ``size``.  Without a name it gets an ID, and ``prune`` takes it.
        ``kind``: "disk", which one VM writes to, or "shared", a directory that several do; None: as hyperd is
        configured.  ``nfs``: it is this directory of a server, in place of both.

        Example::

            made = await hyper.volumes.create("data", size="64m")
            assert made.name == "data"
            await hyper.volumes.remove("data")
        """
        body = {
            "name": name,
            "size_bytes": None if size is None else size_bytes("size", size),
            "labels": dict(labels or {}),
            "kind": kind,
            "nfs": nfs,
        }
        return await self._api.call("volumes.create", VolumeInfo, body=body)

    async def convert(self, name: str, *, kind: str, size: Size | None = None) -> VolumeInfo:
        """Makes it one of the other kind, with what is in it; ``size``: of a disk.  Conflict where a VM has it.

        Example::

            await hyper.volumes.create("common", size="64m")
            assert (await hyper.volumes.convert("common", kind="shared")).kind == "shared"
            await hyper.volumes.remove("common")
        """
        body = {"kind": kind, "size_bytes": None if size is None else size_bytes("size", size)}
        return await self._api.call("volumes.convert", VolumeInfo, name, body=body)

    async def list(self, *, filters: Filters | None = None) -> builtins.list[VolumeInfo]:
        """The volumes that there are.  Filters: as of ``hyper volume ls``.

        Example::

            for volume in await hyper.volumes.list():
                print(volume.name, volume.used_bytes, volume.pods)
        """
        query = {"filters": as_query(filters)}
        return (await self._api.call("volumes.find", VolumeList, query=query)).volumes

    async def inspect(self, name: str) -> VolumeInfo:
        """One volume; NotFound where there is none of this name.

        Example::

            await hyper.volumes.create("looked-at")
            assert (await hyper.volumes.inspect("looked-at")).pods == ()
            await hyper.volumes.remove("looked-at")
        """
        return await self._api.call("volumes.inspect", VolumeInfo, name)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it and what is on it; Conflict where a pod uses it.

        Example::

            await hyper.volumes.create("gone")
            await hyper.volumes.remove("gone")
        """
        await self._api.act("volumes.remove", name, query={"force": force})

    async def resize(self, name: str, size: Size) -> VolumeInfo:
        """Makes it larger: at once, also where it is in use.  InvalidArgument for less than it has.

        Example::

            await hyper.volumes.create("small", size="64m")
            assert (await hyper.volumes.resize("small", "128m")).size_bytes == 128 << 20
            await hyper.volumes.remove("small")
        """
        body = {"size_bytes": size_bytes("size", size)}
        return await self._api.call("volumes.resize", VolumeInfo, name, body=body)

    async def stat_path(self, name: str, path: str) -> PathFacts:
        """What is at a path of a volume, whether or not it is in use; of a link also where it leads to.  NotFound where
        nothing is there.

        Example::

            await hyper.volumes.create("looked-into")
            assert (await hyper.volumes.stat_path("looked-into", "/")).mode & 0o777 == 0o755
            await hyper.volumes.remove("looked-into")
        """
        return await self._api.call("volumes.stat_path", PathFacts, name, query={"path": path})

    async def pack(
        self, name: str, path: str, out: str | os.PathLike[str] | BinaryIO, *, follow: bool = False
    ) -> PathFacts:
        """Writes a file or a directory of a volume with all that is in it into a tar, as ``Container.pack`` does.

        Example::

            await hyper.volumes.create("packed")
            await hyper.volumes.pack("packed", "/.", "packed.tar")
            await hyper.volumes.remove("packed")
        """
        return await packed(self._api, "volumes.pack", name, {"path": path, "follow": follow}, out)

    async def unpack(self, name: str, path: str, archive: Archive, *, replace: bool = False) -> None:
        """Lays a tar into a directory of a volume, as ``Container.unpack`` does.

        Example::

            await hyper.volumes.create("filled")
            await hyper.volumes.pack("filled", "/.", "filled.tar")
            await hyper.volumes.unpack("filled", "/", "filled.tar")
            await hyper.volumes.remove("filled")
        """
        query = {"path": path, "replace": replace}
        await unpacked(self._api, "volumes.unpack", name, query, archive)

    async def snapshot(self, name: str, snapshot: str | None = None) -> SnapshotInfo:
        """Keeps what a volume is now, also while it is in use; without a name it gets one by the time.

        Example::

            await hyper.volumes.create("kept")
            await hyper.volumes.snapshot("kept", "before")
            await hyper.volumes.restore("kept", "before")
            await hyper.volumes.remove("kept")
        """
        body = {"snapshot": snapshot}
        return await self._api.call("volumes.snapshot", SnapshotInfo, name, body=body)

    async def snapshots(self, name: str) -> builtins.list[SnapshotInfo]:
        """Of a volume, the oldest first.

        Example::

            await hyper.volumes.create("seen")
            assert await hyper.volumes.snapshots("seen") == []
            await hyper.volumes.remove("seen")
        """
        return (await self._api.call("volumes.snapshots", SnapshotList, name)).snapshots

    async def remove_snapshot(self, name: str, snapshot: str) -> None:
        """NotFound where there is none of this name.

        Example::

            await hyper.volumes.create("bare")
            made = await hyper.volumes.snapshot("bare")
            await hyper.volumes.remove_snapshot("bare", made.name)
            await hyper.volumes.remove("bare")
        """
        await self._api.act("volumes.remove_snapshot", name, query={"snapshot": snapshot})

    async def restore(self, name: str, snapshot: str) -> VolumeInfo:
        """Makes a volume again what it was at a snapshot; Conflict while it is in use.

        Example::

            await hyper.volumes.create("returned")
            await hyper.volumes.snapshot("returned", "then")
            await hyper.volumes.restore("returned", "then")
            await hyper.volumes.remove("returned")
        """
        return await self._api.call("volumes.restore", VolumeInfo, name, body={"snapshot": snapshot})

    async def clone(
        self, name: str, target: str, *, snapshot: str | None = None, labels: Pairs | None = None
    ) -> VolumeInfo:
        """A new volume of what another is now, also while that is in use, or was at a snapshot.

        Example::

            await hyper.volumes.create("first")
            assert (await hyper.volumes.clone("first", "second")).name == "second"
            await hyper.volumes.prune(all=True)
        """
        body = {"target": target, "snapshot": snapshot, "labels": dict(labels or {})}
        return await self._api.call("volumes.clone", VolumeInfo, name, body=body)

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> VolumesPruned:  # noqa: A002
        """Removes those that no pod uses: that nobody has named, with ``all`` the others too.  Filters: label, label!.

        Example::

            await hyper.volumes.create("unused")
            assert "unused" in (await hyper.volumes.prune(all=True)).removed
        """
        body = {"all": all, "filters": {name: list(values) for name, values in (filters or {}).items()}}
        return await self._api.call("volumes.prune", VolumesPruned, body=body)
