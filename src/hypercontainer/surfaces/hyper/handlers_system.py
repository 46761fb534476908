"""Handlers of the system calls; docs/api.md, "System"."""

from __future__ import annotations

from typing import Any

from hypercontainer import __version__
from hypercontainer.contract import calls as m
from hypercontainer.surfaces.hyper.progress import value_lines
from hypercontainer.surfaces.hyper.routing import Call, Chunks, Nothing

API_VERSION = "1"


async def ping(call: Call[Nothing, Nothing]) -> m.Ping:
    return m.Ping(__version__, API_VERSION)


async def version(call: Call[Nothing, Nothing]) -> dict[str, str]:
    return {"version": __version__, "api_version": API_VERSION} | await call.engine.system.version()


async def info(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    return await call.engine.system.info()


async def doctor(call: Call[Nothing, Nothing]) -> m.CheckList:
    return m.CheckList(await call.engine.system.doctor())


async def events(call: Call[m.EventsQuery, Nothing]) -> Chunks:
    query = call.query
    found = call.engine.system.events(since=query.since, until=query.until, filters=query.filters)
    return Chunks(value_lines(found), at_once=True)


async def disk_usage(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    return await call.engine.system.disk_usage()


async def prune(call: Call[Nothing, m.PruneBody]) -> m.SystemPruned:
    body = call.body
    done = await call.engine.system.prune(containers=body.containers, images=body.images, all_images=body.all)
    # After the containers: what they used may be free by now.
    removed, freed = await call.engine.volumes.prune() if body.volumes else ([], 0)
    return m.SystemPruned(
        containers_deleted=done.containers_deleted,
        images_deleted=done.images_deleted,
        volumes_deleted=tuple(removed),
        space_reclaimed_bytes=done.space_reclaimed_bytes + freed,
    )


async def shutdown(call: Call[Nothing, m.ShutdownBody]) -> None:
    call.shutdown(call.body.stop_containers)


async def kernels(call: Call[Nothing, Nothing]) -> m.KernelList:
    return m.KernelList(await call.engine.system.kernels())


async def openapi(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    from hypercontainer.surfaces.hyper.openapi import document  # late: it describes this module's routes

    return document()
