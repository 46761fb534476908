"""What a guest's kernel says of a full host is heard as often as is good for anybody, and by the next hyperd too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.uml import stall as module
from hypercontainer.hypervisor.uml.stall import Stall

Tell = Callable[[Callable[["Kernel"], Awaitable[None]]], None]


class Kernel:
    """Holds both ends, and is heard by one hyperd after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = RunDir(path.parent).make_pipe(path)
        self.heard: asyncio.Queue[bool] = asyncio.Queue()
        self.stall = self.another()

    def another(self) -> Stall:
        made = Stall(self.path)
        made.tell(self.heard.put_nowait)
        return made

    def say(self, words: bytes) -> None:
        os.write(self.fd, words)

    async def next(self) -> bool:
        async with asyncio.timeout(10):
            return await self.heard.get()


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    monkeypatch.setattr(module, "PAUSE_S", 0.001)

    def run(story: Callable[[Kernel], Awaitable[None]]) -> None:
        async def whole() -> None:
            kernel = Kernel(tmp_path / "full")
            try:
                await story(kernel)
            finally:
                kernel.stall.close()
                kernel.stall.close()
                os.close(kernel.fd)

        asyncio.run(whole())

    return run


def test_it_stands_still_and_goes_on(tell: Tell) -> None:
    async def story(kernel: Kernel) -> None:
        kernel.say(b"fff")
        assert await kernel.next() is True
        late: list[bool] = []
        kernel.stall.tell(late.append)
        assert late == [True]
        kernel.stall.tell(kernel.heard.put_nowait)
        assert await kernel.next() is True
        kernel.say(b"fr")
        assert await kernel.next() is False
        kernel.say(b"fr")
        assert [await kernel.next(), await kernel.next()] == [True, False]
        assert kernel.heard.empty()

    tell(story)


def test_the_next_hyperd_hears_what_the_last_one_did_not(tell: Tell) -> None:
    async def story(kernel: Kernel) -> None:
        kernel.say(b"f")
        assert await kernel.next() is True
        kernel.stall.close()
        kernel.say(b"r")
        kernel.stall = kernel.another()
        assert await kernel.next() is False  # though it has heard of no beginning

    tell(story)


def test_who_finds_that_another_has_heard_it_goes_on_to_listen(tell: Tell) -> None:
    async def story(kernel: Kernel) -> None:
        both = [kernel.stall, kernel.another()]
        kernel.say(b"f")
        assert await kernel.next() is True
        await asyncio.sleep(0)
        heard, kernel.stall = sorted(both, key=lambda stall: not stall.stands_still)
        heard.close()
        kernel.say(b"r")
        assert await kernel.next() is False

    tell(story)
