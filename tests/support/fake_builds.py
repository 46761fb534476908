"""Builds, for the tests of surfaces: see `fake_engine`."""

from __future__ import annotations

from collections.abc import Callable

from fake_attachment import FakeAttachment
from hypercontainer.contract import answers as a
from hypercontainer.contract.builds import BuildSpec
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
    ) -> FakeAttachment:
        created(a.Created("b1", "build"))
        return FakeAttachment()

    async def held(self, identifier: str) -> FakeBuild:
        if not self._makes_all:
            raise NotFound(f"no build {identifier} goes on")
        return FakeBuild(self.notes, identifier)


class FakeBuild(Noted, of="builds"):
    def __init__(self, notes: Notes, identifier: str) -> None:
        self.notes, self.id = notes, identifier

    async def lend(self, ssh: str = "default") -> FakeAttachment:
        return FakeAttachment()
