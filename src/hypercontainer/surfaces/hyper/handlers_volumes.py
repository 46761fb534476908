"""Handlers of the calls on volumes; docs/api.md, "Volumes"."""

from __future__ import annotations

from hypercontainer.contract import calls as m
from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.surfaces.hyper.routing import Call, Nothing


async def create(call: Call[Nothing, m.VolumeBody]) -> VolumeInfo:
    body = call.body
    return await call.engine.volumes.create(body.name, size_bytes=body.size_bytes, labels=body.labels)


async def find(call: Call[m.FiltersQuery, Nothing]) -> m.VolumeList:
    return m.VolumeList(await call.engine.volumes.find(call.query.filters))


async def inspect(call: Call[Nothing, Nothing]) -> VolumeInfo:
    return await call.engine.volumes.inspect(call.id)


async def remove(call: Call[m.ForceQuery, Nothing]) -> None:
    await call.engine.volumes.remove(call.id, force=call.query.force)


async def prune(call: Call[Nothing, Nothing]) -> m.VolumesPruned:
    return m.VolumesPruned(*await call.engine.volumes.prune())
