"""Handlers of the calls on Kubernetes' manifests; docs/api.md, "Manifests"."""

from __future__ import annotations

from hypercontainer.contract import calls as m
from hypercontainer.contract.answers import Played
from hypercontainer.engine.interface import ProgressSink
from hypercontainer.surfaces.hyper.progress import progress_lines
from hypercontainer.surfaces.hyper.routing import Call, Chunks, Nothing


async def play(call: Call[Nothing, m.PlayBody]) -> Chunks:
    body = call.body

    async def work(progress: ProgressSink) -> list[Played]:
        return await call.engine.manifests.play(
            body.text,
            replace=body.replace,
            start=body.start,
            credentials=call.credentials,
            progress=progress,
            asked_by=call.peer_uid,
        )

    return Chunks(progress_lines(work))


async def down(call: Call[Nothing, m.DownBody]) -> Chunks:
    async def work(progress: ProgressSink) -> list[Played]:
        return await call.engine.manifests.down(call.body.text, volumes=call.body.volumes)

    return Chunks(progress_lines(work))


async def generate(call: Call[Nothing, m.GenerateBody]) -> m.Manifest:
    return m.Manifest(await call.engine.manifests.generate(call.body.refs))
