"""Builds, for the tests of surfaces: see `fake_engine`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import BinaryIO

from fake_attachment import FakeAttachment
from hypercontainer.contract import answers as a
from hypercontainer.contract.builds import BuildSpec
from hypercontainer.engine.build.builds import Cached, Pruned
from hypercontainer.engine.build.exchange import CredentialsOf, nobodys
from hypercontainer.engine.build.http2 import Wire
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.errors import NotFound
from noted import Noted, Notes


class FakeBuilds(Noted, of="builds"):
    """None goes on, but where ``makes_all``."""

    def __init__(self, notes: Notes, *, makes_all: bool = False) -> None:
        self.notes = notes
        self._makes_all = makes_all

    async def begin(
        self,
        spec: BuildSpec,
        *,
        created: Callable[[a.Created], None],
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
        credentials_of: CredentialsOf = nobodys,
        called: str = "",
    ) -> FakeAttachment:
        created(a.Created("b1", "build"))
        return FakeAttachment()

    async def prune(
        self,
        *,
        filters: Mapping[str, Sequence[str]] | None = None,
        all_of_it: bool = False,
        keep_bytes: int | None = None,
        asked_by: int | None = None,
    ) -> Pruned:
        return Pruned(("one",), 5)

    async def context(self, stream: BinaryIO) -> AsyncGenerator[bytes, None]:
        while data := await asyncio.to_thread(stream.read, 65536):
            yield data

    async def control(self, wire: Wire, *, asked_by: int | None = None) -> None:
        """An echo."""
        while data := await wire.read():
            await wire.write(data)

    async def session(
        self, wire: Wire, identifier: str, fields: Sequence[tuple[str, str]], *, asked_by: int | None = None
    ) -> None:
        await wire.write(identifier.encode())

    async def cache(self) -> tuple[Cached, ...]:
        return ()

    async def cancel(self, called: str) -> None:
        pass

    async def held(self, identifier: str) -> FakeBuild:
        if not self._makes_all:
            raise NotFound(f"no build {identifier} goes on")
        return FakeBuild(self.notes, identifier)


class FakeBuild(Noted, of="builds"):
    def __init__(self, notes: Notes, identifier: str) -> None:
        self.notes, self.id = notes, identifier

    async def lend(self, ssh: str = "default") -> FakeAttachment:
        return FakeAttachment()
