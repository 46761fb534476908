"""Builds that go on, each under its ID."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import BinaryIO
from urllib.parse import urlencode

import msgspec

from hypercontainer.config import Config
from hypercontainer.contract.answers import Created
from hypercontainer.contract.builds import BuildSpec
from hypercontainer.engine import names
from hypercontainer.engine.build import command
from hypercontainer.engine.build.bases import Bases
from hypercontainer.engine.build.build import Build
from hypercontainer.engine.build.builder import Builder
from hypercontainer.engine.build.control import Control
from hypercontainer.engine.build.exchange import CredentialsOf, Exchange, nobodys
from hypercontainer.engine.build.http2 import Wire
from hypercontainer.engine.build.wires import dialed
from hypercontainer.engine.creation import Asker, Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.interface import Attachment, Credentials, ProgressSink
from hypercontainer.engine.pipes import written
from hypercontainer.engine.turns import Turns
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import HyperError, NotFound, Unavailable
from hypercontainer.image.reference import parse
from hypercontainer.image.streams import unpacked

log = logging.getLogger(__name__)

BUILDS_MAX = 16
CACHE_S = 20.0  # for the builder to say what it keeps


class Pruned(
    msgspec.Struct, frozen=True, rename={"caches": "CachesDeleted", "reclaimed_bytes": "SpaceReclaimed"}
):
    """As dockerd has it."""

    caches: tuple[str, ...] | None = ()
    reclaimed_bytes: int = 0


class Cached(msgspec.Struct, frozen=True, rename="pascal"):
    """A thing that the builder keeps, as its dockerd tells of it; ``size`` in bytes, ``parent`` up to 1.41."""

    id: str = msgspec.field(name="ID")
    type: str = ""
    description: str = ""
    parent: str = ""
    parents: tuple[str, ...] | None = None
    in_use: bool = False
    shared: bool = False
    size: int = 0
    created_at: str = ""
    last_used_at: str | None = None
    usage_count: int = 0


class _Usage(msgspec.Struct, frozen=True, rename="pascal"):
    build_cache: tuple[Cached, ...] | None = None


def cached(answer: bytes) -> tuple[Cached, ...]:
    """Of dockerd's answer of what its disk is used for; msgspec.DecodeError."""
    return msgspec.json.decode(answer, type=_Usage).build_cache or ()


class BuildService:
    def __init__(
        self, directory: Directory, creation: Creation, images: ImageService, config: Config
    ) -> None:
        self._images, self._directory = images, directory
        self._builder = Builder(directory, creation, config)
        self._exchange = Exchange(images)
        self._bases = Bases(images, self._exchange)
        self._control = Control(self._bases, self._exchange)
        self._contexts = Workers("contexts", BUILDS_MAX)
        self._turns = Turns("builds", BUILDS_MAX)
        self._going: dict[str, Build] = {}

    def open(self) -> None:
        """A builder that an earlier hyperd has left at work is idle."""
        if any(command.LABEL in each.record.labels for each in self._directory.containers.values()):
            self._builder.rest()

    async def close(self) -> None:
        for build in (*self._going.values(),):
            await build.close()
            await build.over
        await self._control.close()
        await self._builder.close()

    async def begin(
        self,
        spec: BuildSpec,
        *,
        created: Callable[[Created], None],
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
        credentials_of: CredentialsOf = nobodys,
        called: str = "",
    ) -> Attachment:
        """Brings the builder up, and gives it what it needs but for the context, which is the build's input.
        ``credentials`` are for the builder's own image, ``credentials_of`` gives those for what a Dockerfile names;
        ``called``: by which its client may have it cancelled."""
        for tag in spec.tags:
            parse(tag)
        identifier = names.new_id()[:24]
        held = self._builder.held(Asker(asked_by, credentials, progress))
        build = Build(
            identifier, spec, held, self._exchange, self._bases, credentials_of, self._turns.held(), called
        )
        await build.begin()
        self._going[identifier] = build
        build.over.add_done_callback(lambda _: self._going.pop(identifier, None))
        created(Created(identifier, "build"))
        return build

    def context(self, stream: BinaryIO) -> AsyncGenerator[bytes, None]:
        """A context as it came, compressed perhaps, as the input of a build: in plain."""

        async def unpack(out: BinaryIO) -> None:
            await self._contexts.cancellable(lambda cancelled: unpacked(stream, out, cancelled))

        return written(unpack)

    async def prune(
        self,
        *,
        filters: Mapping[str, Sequence[str]] | None = None,
        all_of_it: bool = False,
        keep_bytes: int | None = None,
        asked_by: int | None = None,
    ) -> Pruned:
        """Of the builder's cache: what no build needs, or ``all_of_it``, as its dockerd understands ``filters``; where
        nobody has ever built, nothing."""
        if not await self._builder.exists():
            return Pruned()
        said = {"filters": msgspec.json.encode(filters or {}).decode(), "all": "1" if all_of_it else ""}
        if keep_bytes is not None:
            said |= {"keep-storage": str(keep_bytes), "reserved-space": str(keep_bytes)}
        async with self._builder.held(Asker(asked_by)) as builder, dialed(builder) as wire:
            answer = await wire.ask("POST", f"/build/prune?{urlencode(said)}")
        try:
            return msgspec.json.decode(answer, type=Pruned)
        except msgspec.DecodeError as error:
            raise Unavailable(f"the builder's dockerd does not say what it has removed: {error}") from error

    async def cache(self) -> tuple[Cached, ...]:
        """What the builder keeps, while it runs: else only the volume is known that it keeps it in."""
        builder = await self._builder.at_work()
        if builder is None:
            return ()
        try:
            async with asyncio.timeout(CACHE_S), dialed(builder) as wire:
                answer = await wire.ask("GET", "/system/df?type=build-cache")
            return cached(answer)
        except (HyperError, TimeoutError, msgspec.DecodeError) as error:
            log.warning("what the builder keeps is not known: %s", error)
            return ()

    async def control(self, wire: Wire, *, asked_by: int | None = None) -> None:
        """BuildKit's own protocol, gRPC, until its client goes."""
        await self._control.serve(wire, partial(self._builder.held, Asker(asked_by)))

    async def session(
        self, wire: Wire, identifier: str, fields: Sequence[tuple[str, str]], *, asked_by: int | None = None
    ) -> None:
        """The same the other way round: what BuildKit asks the client of a build for.  ``fields``: HTTP's, which say
        what it may ask."""
        held = partial(self._builder.held, Asker(asked_by))
        await self._control.serve_session(wire, held, identifier, fields)

    async def cancel(self, called: str) -> None:
        """The builds that their clients call so, if any."""
        for build in [build for build in self._going.values() if build.called == called]:
            await build.signal("INT")

    async def held(self, identifier: str) -> Build:
        """While it goes on."""
        if identifier not in self._going:
            raise NotFound(f"no build {identifier} goes on")
        return self._going[identifier]
