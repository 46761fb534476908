"""Builds that go on, each under its ID."""

from __future__ import annotations

from collections.abc import Callable

from hypercontainer.config import Config
from hypercontainer.contract.answers import Created
from hypercontainer.contract.builds import BuildSpec
from hypercontainer.engine import names
from hypercontainer.engine.build import command
from hypercontainer.engine.build.build import Build
from hypercontainer.engine.build.builder import Builder
from hypercontainer.engine.build.exchange import Exchange
from hypercontainer.engine.creation import Asker, Creation
from hypercontainer.engine.directory import Directory
from hypercontainer.engine.images import ImageService
from hypercontainer.engine.interface import Attachment, Credentials, ProgressSink
from hypercontainer.engine.turns import Turns
from hypercontainer.errors import NotFound
from hypercontainer.image.reference import parse

BUILDS_MAX = 16


class BuildService:
    def __init__(
        self, directory: Directory, creation: Creation, images: ImageService, config: Config
    ) -> None:
        self._images, self._directory = images, directory
        self._builder = Builder(directory, creation, config)
        self._exchange = Exchange(images)
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
        await self._builder.close()

    async def begin(
        self,
        spec: BuildSpec,
        *,
        created: Callable[[Created], None],
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> Attachment:
        """Brings the builder up, and gives it what it needs but for the context, which is the build's input."""
        for tag in spec.tags:
            parse(tag)
        identifier = names.new_id()[:24]
        held = self._builder.held(Asker(asked_by, credentials, progress))
        build = Build(identifier, spec, held, self._exchange, self._turns.held())
        await build.begin()
        self._going[identifier] = build
        build.over.add_done_callback(lambda _: self._going.pop(identifier, None))
        created(Created(identifier, "build"))
        return build

    async def held(self, identifier: str) -> Build:
        """While it goes on."""
        if identifier not in self._going:
            raise NotFound(f"no build {identifier} goes on")
        return self._going[identifier]
