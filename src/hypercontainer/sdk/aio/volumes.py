"""Named volumes: disks that outlive the containers which mount them."""

from __future__ import annotations

import builtins

import msgspec

from hypercontainer.client.http import quote
from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.sdk.aio.calls import Filters, as_query
from hypercontainer.sdk.options import Pairs, Size, size_bytes
from hypercontainer.sdk.transport import Api


class _Listed(msgspec.Struct, frozen=True):
    volumes: builtins.list[VolumeInfo]


class VolumesPruned(msgspec.Struct, frozen=True):
    removed: tuple[str, ...]
    space_reclaimed_bytes: int


class AsyncVolumes:
    """All named volumes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, name: str, *, size: Size | None = None, labels: Pairs | None = None) -> VolumeInfo:
        """Makes an empty volume; it grows up to ``size``.

        Example::

            made = await hyper.volumes.create("data", size="64m")
            assert made.name == "data"
            await hyper.volumes.remove("data")
        """
        body = {
            "name": name,
            "size_bytes": None if size is None else size_bytes("size", size),
            "labels": dict(labels or {}),
        }
        return await self._api.call("POST", "/v1/volumes", VolumeInfo, body=body)

    async def list(self, *, filters: Filters | None = None) -> builtins.list[VolumeInfo]:
        """The volumes that there are.  Filters: as of ``hyper volume ls``.

        Example::

            for volume in await hyper.volumes.list():
                print(volume.name, volume.used_bytes, volume.pods)
        """
        return (await self._api.get("/v1/volumes", _Listed, {"filters": as_query(filters)})).volumes

    async def inspect(self, name: str) -> VolumeInfo:
        """One volume; NotFound where there is none of this name.

        Example::

            await hyper.volumes.create("looked-at")
            assert (await hyper.volumes.inspect("looked-at")).pods == ()
            await hyper.volumes.remove("looked-at")
        """
        return await self._api.get(f"/v1/volumes/{quote(name)}", VolumeInfo)

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it and what is on it; Conflict where a pod uses it.

        Example::

            await hyper.volumes.create("gone")
            await hyper.volumes.remove("gone")
        """
        await self._api.act(f"/v1/volumes/{quote(name)}", method="DELETE", query={"force": force})

    async def prune(self) -> VolumesPruned:
        """Removes those that no pod uses.

        Example::

            await hyper.volumes.create("unused")
            assert "unused" in (await hyper.volumes.prune()).removed
        """
        return await self._api.call("POST", "/v1/volumes/prune", VolumesPruned)
