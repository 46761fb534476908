"""Answers of many lines of JSON, and the progress of a long operation as lines or as control frames.

Memory is bounded by the number of layers: what a slow client has not yet read of a layer is replaced by newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec

from hypercontainer.contract.images import LayerProgress
from hypercontainer.engine.interface import ProgressSink
from hypercontainer.surfaces.http.answers import closed_after
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of

T = TypeVar("T")

TICK_S = 1.0


def line(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


async def value_lines(values: AsyncIterator[object]) -> AsyncGenerator[bytes, None]:
    """A line of JSON per value; an error is the last line."""
    try:
        async with closed_after(values):
            async for value in values:
                yield line(value)
    except Exception as error:
        yield line(FaultBody(fault_of(error)[1]))


async def every_second(first: T, take: Callable[[], Awaitable[T]]) -> AsyncGenerator[T, None]:
    """``first``, and then what ``take`` gives at every tick; a client that is slow misses ticks."""
    loop = asyncio.get_running_loop()
    value = first
    while True:
        due = loop.time() + TICK_S
        yield value
        await asyncio.sleep(due - loop.time())
        value = await take()


class Board:
    """The newest news of each layer, until somebody takes it."""

    def __init__(self) -> None:
        self._news: dict[str, LayerProgress] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def post(self, progress: LayerProgress) -> None:
        self._news[progress.layer] = progress
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def take_now(self) -> list[LayerProgress]:
        news = list(self._news.values())
        self._news.clear()
        return news

    async def take(self) -> list[LayerProgress]:
        """Waits for news; [] when there will be none."""
        while not self._news and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        return self.take_now()


async def progress_lines(
    operation: Callable[[ProgressSink], Awaitable[object]],
) -> AsyncGenerator[bytes, None]:
    """Lines of progress, then of the result or the error.  An error before any line is raised instead, so that
    it can be the HTTP answer.  Closing the iterator cancels the operation."""
    board = Board()
    task = asyncio.ensure_future(operation(board.post))
    task.add_done_callback(lambda _: board.end())
    begun = False
    try:
        while news := await board.take():
            begun = True
            yield b"".join(line({"progress": item}) for item in news)
        try:
            result = await task
        except Exception as error:
            if not begun:
                raise
            yield line(FaultBody(fault_of(error)[1]))
        else:
            yield line({"result": result})
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
