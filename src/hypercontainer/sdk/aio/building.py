"""A build: the images that it begins with, its context, what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import BinaryIO

from msgspec.structs import replace

from hypercontainer.contract.builds import BuildSpec
from hypercontainer.errors import HyperError, StreamClosed
from hypercontainer.image.dockerfile import images
from hypercontainer.sdk.aio import pulling
from hypercontainer.sdk.aio.stream import AsyncStream
from hypercontainer.sdk.failures import BuildFailed
from hypercontainer.sdk.transport import Api, OnProgress, Upgraded

LOG_KEPT_CHARS = 65536
ID_MAX_BYTES = 256

OnText = Callable[[str], None]


async def with_images(api: Api, spec: BuildSpec, progress: OnProgress | None) -> BuildSpec:
    """``spec`` with the images that its Dockerfile names and that are here, or could be fetched."""
    found = []
    for name in images(spec.dockerfile or "", spec.args):
        with contextlib.suppress(HyperError):  # the builder says what is missing
            if spec.pull or not await pulling.is_there(api, name):
                await pulling.pull(api, name, platform=spec.platform, progress=progress)
            found.append(name)
    return replace(spec, images=tuple(found))


async def build(
    api: Api,
    spec: BuildSpec,
    what: str,
    pieces: Iterator[bytes] | None,
    out: BinaryIO | None,
    on_text: OnText | None,
) -> str:
    """The image's ID, or "" where the result goes ``out``."""

    async def connect() -> Upgraded:
        return await api.upgrade("images.build", body=spec)

    said, log = bytearray(), ""
    async with AsyncStream(connect, what, kill_at_exit=True) as stream:
        feeding = asyncio.create_task(_feed(stream, pieces))
        try:
            async for channel, data in stream:
                if channel == "stderr":
                    text = data.decode(errors="replace")
                    log = (log + text)[-LOG_KEPT_CHARS:]
                    if on_text is not None:
                        on_text(text)
                elif out is not None:
                    await asyncio.to_thread(out.write, data)
                else:
                    said += data[: ID_MAX_BYTES - len(said)]
        finally:
            feeding.cancel()
            (problem,) = await asyncio.gather(feeding, return_exceptions=True)
        if isinstance(problem, OSError | HyperError):
            raise problem
        if stream.exit_status:
            raise BuildFailed(what, stream.error, log)
    return said.decode().strip()


async def _feed(stream: AsyncStream, pieces: Iterator[bytes] | None) -> None:
    with contextlib.suppress(StreamClosed):
        async for piece in _read(pieces or iter(())):
            await stream.write(piece)
        await stream.end_input()


async def _read(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
