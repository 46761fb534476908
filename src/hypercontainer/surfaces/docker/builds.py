"""Builds: BuildKit's own protocol, and the build of one request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from hypercontainer.contract.builds import BuildSpec
from hypercontainer.contract.calls import CredentialsBody
from hypercontainer.engine.interface import Attachment
from hypercontainer.errors import Conflict, InvalidArgument, StreamClosed
from hypercontainer.image.reference import parse
from hypercontainer.surfaces.docker.build_query import credentials, wanted
from hypercontainer.surfaces.docker.build_words import News, Reader, Words, failure, is_unread, trace
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.docker.messages import line
from hypercontainer.surfaces.docker.streams import READ_BYTES, STDERR, STDOUT
from hypercontainer.surfaces.docker.wording import told
from hypercontainer.surfaces.http.answers import JSON, Chunks, Reply, Silent, Upgrade

H2C = "h2c"
SESSION = "x-docker-expose-session-"
SEVERAL = "x-docker-expose-session-grpc-method"  # what of a session's fields may be there several times


class StreamWire:
    """What a client sends and is sent, once the connection is no longer HTTP/1.1's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        self._reader, self._writer, self._initial = reader, writer, initial

    async def read(self) -> bytes:
        initial, self._initial = self._initial, b""
        return initial or await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class WireSession:
    def __init__(self, serve: Callable[[StreamWire], Awaitable[None]]) -> None:
        self._serve = serve

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        await self._serve(StreamWire(reader, writer, initial))


async def build(call: Call) -> Chunks:
    """Of one request: the context is its body, its answer what the builder says.  ``version=2``: by BuildKit's own
    messages."""
    spec, known = wanted(call.query), credentials(call)

    async def credentials_of(registry: str) -> CredentialsBody | None:
        return known.get(registry)

    begun = await call.engine.builds.begin(
        spec,
        created=lambda _: None,
        asked_by=call.peer_uid,
        credentials_of=credentials_of,
        called=call.query.text("buildid"),
    )
    return Chunks(200, (("Content-Type", JSON),), await _Telling(call, spec, begun).opened())


async def cancel(call: Call) -> Reply:
    """Of the builds of one request; one that does not go on is none."""
    if not (called := call.query.text("id")):
        raise InvalidArgument("build ID not provided")
    await call.engine.builds.cancel(called)
    return Reply(200, (), b"")


class _Telling:
    """A build that goes on, and is ended with its client's leaving."""

    def __init__(self, call: Call, spec: BuildSpec, build: Attachment) -> None:
        self._call, self._spec, self._build = call, spec, build
        self._traced = call.query.text("version") == "2"
        self._quiet = call.query.flag("q")
        self._words = Words()

    async def opened(self) -> AsyncGenerator[bytes, None]:
        """Its lines, once there is a first; InvalidArgument where that says that the Dockerfile cannot be read."""
        lines = self._lines()
        first = await anext(lines)
        if is_unread(self._words.error):
            await lines.aclose()
            raise InvalidArgument(self._words.error)

        async def all_lines() -> AsyncGenerator[bytes, None]:
            async with contextlib.aclosing(lines):
                yield first
                async for each in lines:
                    yield each

        return all_lines()

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._build.close)
            feeding = asyncio.create_task(self._feed())
            stack.callback(feeding.cancel)
            reader = Reader()
            while data := await self._build.read(STDERR):
                for message in self._messages(reader.feed(data)):
                    yield line(message)
            for message in (*self._messages(reader.end()), *self._streamed(self._words.rest())):
                yield line(message)
            for message in await self._ending(feeding):
                yield line(message)

    async def _feed(self) -> None:
        """The context, as far as it is wanted: what fails ends the build."""
        if self._spec.remote:
            return
        try:
            async with contextlib.aclosing(self._call.engine.builds.context(self._call.body)) as pieces:
                async for data in pieces:
                    await self._build.write(data)
        except (StreamClosed, Conflict):
            return  # it has ended: why is what it says
        except Exception:
            await self._build.signal("INT")
            raise
        await self._build.end_input()

    def _messages(self, said: Iterable[News | str]) -> Iterator[dict[str, Any]]:
        for each in said:
            words = list(self._words.of(each))
            if not self._traced:
                yield from self._streamed(words)
            elif isinstance(each, News):
                yield trace(each)

    def _streamed(self, words: Iterable[str]) -> Iterator[dict[str, Any]]:
        if not (self._quiet or self._traced):
            yield from ({"stream": word} for word in words)

    async def _ending(self, feeding: asyncio.Task[None]) -> list[dict[str, Any]]:
        ended = await self._build.exit()
        if feeding.done() and not feeding.cancelled() and (problem := feeding.exception()):
            return [failure(told(problem)[1])]
        if ended.exit_status:
            return [
                failure(self._words.error or ended.error or f"the builder ended with {ended.exit_status}")
            ]
        identifier = b"".join([data async for data in self._output()]).decode().strip()
        aux: dict[str, Any] = {"aux": {"ID": identifier}}
        if self._traced:
            return [{"id": "moby.image.id", **aux}]
        if self._quiet:
            return [aux, {"stream": f"{identifier}\n"}]
        short = identifier.removeprefix("sha256:")[:12]
        tagged = (f"Successfully tagged {parse(tag).familiar()}\n" for tag in self._spec.tags)
        return [aux, *({"stream": text} for text in (f"Successfully built {short}\n", *tagged))]

    async def _output(self) -> AsyncGenerator[bytes, None]:
        while data := await self._build.read(STDOUT):
            yield data


async def prune(call: Call) -> Reply:
    query = call.query
    kept = query.number("reserved-space") or query.number("keep-storage")
    pruned = await call.engine.builds.prune(
        filters=query.filters(pruning=True),
        all_of_it=query.flag("all"),
        keep_bytes=kept,
        asked_by=call.peer_uid,
    )
    return found({"CachesDeleted": list(pruned.caches or ()), "SpaceReclaimed": pruned.reclaimed_bytes})


async def grpc(call: Call) -> Upgrade:
    _need_h2c(call)
    return Upgrade(H2C, _control(call))


async def http2(call: Call) -> Silent:
    """The same of a client that does not ask, but begins."""
    return Silent(_control(call))


def _control(call: Call) -> WireSession:
    async def serve(wire: StreamWire) -> None:
        await call.engine.builds.control(wire, asked_by=call.peer_uid)

    return WireSession(serve)


async def session(call: Call) -> Upgrade:
    _need_h2c(call)
    identifier = call.header(f"{SESSION}uuid")
    if not identifier:
        raise InvalidArgument(f"{SESSION}uuid: a session has a name")
    fields = [
        (name, value)
        for raw in call.headers
        if (name := raw.decode("latin-1")).startswith(SESSION)
        for value in (call.header(name).split(", ") if name == SEVERAL else [call.header(name)])
    ]

    async def serve(wire: StreamWire) -> None:
        await call.engine.builds.session(wire, identifier, fields, asked_by=call.peer_uid)

    return Upgrade(H2C, WireSession(serve))


def _need_h2c(call: Call) -> None:
    if not call.wants_upgrade(H2C):
        raise InvalidArgument(
            f"this call goes on as HTTP/2: `Connection: Upgrade` and `Upgrade: {H2C}` are wanted"
        )
