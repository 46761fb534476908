"""Places for work, counted by who asks."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from fake_attachment import FakeAttachment
from hypercontainer.engine.container import inside
from hypercontainer.engine.container.files import Files
from hypercontainer.engine.container.inside import Inside
from hypercontainer.engine.pipes import pieces_of
from hypercontainer.engine.turns import Turns, on_behalf
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import Unavailable

STRANGER, OTHER = os.geteuid() + 1000, os.geteuid() + 2000
EVERYBODY = (STRANGER, OTHER, OTHER + 1, OTHER + 2, OTHER + 3)


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


def wait(turns: Turns, user: int | None) -> asyncio.Task[int | None]:
    with on_behalf(user):
        return asyncio.create_task(turns.wait())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def done(*tasks: asyncio.Task[Any]) -> list[bool]:
    return [task.done() for task in tasks]


@on_a_loop
async def test_each_waits_for_their_own() -> None:
    turns = Turns("things", 8)
    theirs = [wait(turns, STRANGER) for _ in range(5)]
    other, own = wait(turns, OTHER), wait(turns, None)
    await settle()
    assert done(*theirs, other, own) == [True, True, False, False, False, True, True]
    turns.leave(OTHER)
    await settle()
    assert sum(done(*theirs)) == 2
    turns.leave(STRANGER)
    await settle()
    assert done(*theirs) == [True, True, True, False, False]
    for task in theirs:
        task.cancel()


@on_a_loop
async def test_who_no_longer_waits_takes_no_place() -> None:
    turns = Turns("things", 4)
    first, second, third, fourth = (wait(turns, STRANGER) for _ in range(4))
    await settle()
    assert done(first, second) == [True, False]
    second.cancel()
    turns.leave(STRANGER)  # the second does not know yet that it is cancelled
    await settle()
    assert done(third, fourth) == [True, False]
    turns.leave(STRANGER)
    fourth.cancel()  # it has been given the place, and does not know
    await settle()
    assert fourth.cancelled()
    with on_behalf(STRANGER), turns.held():
        pass


@on_a_loop
async def test_all_together_leave_some_to_who_runs_it() -> None:
    turns = Turns("things", 16)
    tasks = [wait(turns, user) for user in EVERYBODY for _ in range(4)]
    await settle()
    assert sum(done(*tasks)) == 15
    with on_behalf(OTHER + 5), pytest.raises(Unavailable, match="15 things already"):
        turns.take()
    with turns.held(), pytest.raises(Unavailable, match="16 things already"):
        turns.take()
    for task in tasks:
        task.cancel()


@on_a_loop
async def test_a_thread_is_of_who_asked_for_it() -> None:
    workers = Workers("things", 4)
    over = threading.Event()
    with on_behalf(STRANGER):
        silent = asyncio.create_task(workers.run(over.wait))
        await settle()
        with pytest.raises(Unavailable, match=f"1 things of user {STRANGER} already"):
            await workers.run(over.wait)
    with on_behalf(OTHER):
        assert await workers.run(lambda: 5) == 5
    over.set()
    await silent
    with on_behalf(STRANGER):
        assert await workers.run(lambda: 6) == 6


async def silent_until(over: asyncio.Event) -> AsyncGenerator[bytes, None]:
    await over.wait()
    yield b""


@on_a_loop
async def test_nobody_takes_others_places_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "_WRITES", Turns("files for containers", 8))
    begun = []

    async def start(self: Inside, *command: str, stdin: bool) -> FakeAttachment:
        attachment = FakeAttachment()
        attachment.finish()
        begun.append(command[1])
        return attachment

    monkeypatch.setattr(Inside, "start", start)
    over = asyncio.Event()
    nothing: Any = None
    there = Files(Inside("c", lambda: "container c", lambda: nothing))
    with on_behalf(STRANGER):
        silent = [asyncio.create_task(there.write("/silent", silent_until(over))) for _ in range(2)]
        await settle()
        for _ in range(10):
            with pytest.raises(Unavailable, match=f"2 files for containers of user {STRANGER} already"):
                await there.write("/refused", silent_until(over))
    with on_behalf(OTHER):
        await there.write("/mine", pieces_of(b"bytes"))
    assert begun == ["/silent", "/silent", "/mine"]
    over.set()
    await asyncio.gather(*silent)
