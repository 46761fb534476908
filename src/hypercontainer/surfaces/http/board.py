"""The news of a long operation, as a body that is made as it goes.

Memory is bounded by the number of keys: what a slow client has not yet read under one is replaced by newer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")


class Board(Generic[V]):
    """The newest news under each key, until somebody takes it."""

    def __init__(self) -> None:
        self._news: dict[Hashable, V] = {}
        self._changed, self._taken = asyncio.Event(), asyncio.Event()
        self._ended = False
        self._taken.set()

    def post(self, key: Hashable, news: V) -> None:
        self._news[key] = news
        self._changed.set()
        self._taken.clear()

    async def taken(self) -> None:
        """Returns when somebody has all that was posted."""
        await self._taken.wait()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def take_now(self) -> list[V]:
        news = list(self._news.values())
        self._news.clear()
        self._taken.set()
        return news

    async def take(self) -> list[V]:
        """Waits for news; [] when there will be none."""
        while not self._news and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        return self.take_now()


async def told(
    operation: Callable[[Board[V]], Awaitable[T]],
    line: Callable[[V], bytes],
    *,
    ended: Callable[[T], bytes],
    failed: Callable[[Exception], bytes],
) -> AsyncGenerator[bytes, None]:
    """Lines of news, then of the result or the error.  An error before any line is raised instead, so that
    it can be the HTTP answer.  Closing the iterator cancels the operation."""
    board: Board[V] = Board()
    task = asyncio.ensure_future(operation(board))
    task.add_done_callback(lambda _: board.end())
    begun = False
    try:
        while news := await board.take():
            begun = True
            yield b"".join(map(line, news))
        try:
            result = await task
        except Exception as error:
            if not begun:
                raise
            yield failed(error)
        else:
            yield ended(result)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
