"""Handlers of the image calls; docs/api.md, "Images"."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from hypercontainer.contract import calls as m
from hypercontainer.contract.answers import ImageInspect, ImageSummary
from hypercontainer.engine.interface import ProgressSink
from hypercontainer.surfaces.http.pipes import OutputPipe
from hypercontainer.surfaces.hyper.progress import progress_lines
from hypercontainer.surfaces.hyper.routing import Call, Chunks, Nothing


async def find(call: Call[m.FiltersQuery, Nothing]) -> m.ImageList:
    return m.ImageList(await call.engine.images.find(call.query.filters))


async def inspect(call: Call[m.RefQuery, Nothing]) -> ImageInspect:
    return await call.engine.images.inspect(call.query.ref)


async def history(call: Call[m.RefQuery, Nothing]) -> m.History:
    return m.History(await call.engine.images.history(call.query.ref))


async def pull(call: Call[Nothing, m.PullBody]) -> Chunks:
    body = call.body

    async def work(progress: ProgressSink) -> ImageSummary:
        return await call.engine.images.pull(
            body.reference, platform=body.platform, credentials=body.credentials, progress=progress
        )

    return Chunks(progress_lines(work))


async def push(call: Call[Nothing, m.PushBody]) -> Chunks:
    body = call.body

    async def work(progress: ProgressSink) -> m.Pushed:
        images = call.engine.images
        return m.Pushed(await images.push(body.reference, credentials=body.credentials, progress=progress))

    return Chunks(progress_lines(work))


async def load(call: Call[Nothing, Nothing]) -> Chunks:
    stream = call.stream
    assert stream is not None

    async def work(progress: ProgressSink) -> m.ImageList:
        return m.ImageList(await call.engine.images.load(stream, progress=progress))

    return Chunks(progress_lines(work))


async def import_(call: Call[m.ImportQuery, Nothing]) -> Chunks:
    query, stream = call.query, call.stream
    assert stream is not None

    async def work(progress: ProgressSink) -> ImageSummary:
        return await call.engine.images.import_(
            stream, reference=query.reference, changes=query.change, message=query.message
        )

    return Chunks(progress_lines(work))


async def save(call: Call[m.SaveQuery, Nothing]) -> Chunks:
    return Chunks(_saved(call))


async def _saved(call: Call[m.SaveQuery, Nothing]) -> AsyncGenerator[bytes, None]:
    query = call.query

    async def work(pipe: OutputPipe) -> None:
        try:
            await call.engine.images.save(query.ref, pipe.file, format=query.format)
        finally:
            await pipe.finish()

    with contextlib.closing(OutputPipe()) as pipe:
        task = asyncio.create_task(work(pipe))
        try:
            while data := await pipe.read():
                yield data
            await task
        finally:
            pipe.close()  # before the task is waited for: its thread may be stuck in a full pipe
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def tag(call: Call[Nothing, m.TagBody]) -> None:
    await call.engine.images.tag(call.body.source, call.body.target)


async def remove(call: Call[m.RemoveImageQuery, Nothing]) -> m.RemovedList:
    return m.RemovedList(await call.engine.images.remove(call.query.ref, force=call.query.force))


async def authenticate(call: Call[Nothing, m.AuthBody]) -> m.AuthAnswer:
    body = call.body
    return m.AuthAnswer(*await call.engine.images.check_credentials(body.registry, body.credentials))
