"""Named volumes: disks and directories that outlive the containers which mount them."""

from __future__ import annotations

import builtins

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.calls import VolumeList, VolumesPruned
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
    ) -> VolumeInfo:
        """Makes an empty volume; it grows up to ``size``.  Without a name it gets an ID, and ``prune`` takes it.
        ``kind``: "disk", which one VM writes to, or "shared", a directory that several do; None: as hyperd is
        configured.

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

    async def prune(self, *, all: bool = False, filters: Filters | None = None) -> VolumesPruned:  # noqa: A002
        """Removes those that no pod uses: that nobody has named, with ``all`` the others too.  Filters: label, label!.

        Example::

            await hyper.volumes.create("unused")
            assert "unused" in (await hyper.volumes.prune(all=True)).removed
        """
        body = {"all": all, "filters": {name: list(values) for name, values in (filters or {}).items()}}
        return await self._api.call("volumes.prune", VolumesPruned, body=body)
