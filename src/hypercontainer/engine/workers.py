"""Threads for work that somebody outside can hold up: a client that sends nothing, a registry that answers slowly.

The event loop's own executor has a few threads for everybody, and whoever may keep one of them for long stops the
others' calls.  So such work has threads of its own: one a call, gone with it, bounded in number, and of those no user
has more than their share (`Turns`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from hypercontainer.engine.turns import Turns
from hypercontainer.image.cancel import Cancellation
from hypercontainer.linux.waiting import ended

T = TypeVar("T")


class Workers:
    """At most ``limit`` threads at once, and a share of them for who asks.  Who comes when these are at work is refused
    or, where ``waits`` says so, waits: for their own work to end, or for anybody's, where all have too much together.
    ``what`` they do, for people: "archives"."""

    def __init__(self, what: str, limit: int, *, waits: bool = False) -> None:
        self._what, self._waits = what, waits
        self._turns = Turns(what, limit)

    async def run(self, call: Callable[[], T]) -> T:
        """``call``'s outcome.  A cancelled caller leaves the thread at work, which keeps its place until it ends."""
        user = await self._take_place()
        return await asyncio.shield(asyncio.ensure_future(self._work(user, call)))

    async def cancellable(self, call: Callable[[Cancellation], T]) -> T:
        """``call``'s outcome; a cancelled caller cancels it and waits for its end."""
        user = await self._take_place()
        cancelled = Cancellation()
        work = asyncio.ensure_future(self._work(user, lambda: call(cancelled)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled.set()
            await ended(work)
            raise

    async def _take_place(self) -> int | None:
        return await self._turns.wait() if self._waits else self._turns.take()

    async def _work(self, user: int | None, call: Callable[[], T]) -> T:
        """``user``: whose place it takes, which it leaves."""
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()  # from here on nobody can cancel it

        def work() -> None:
            try:
                outcome.set_result(call())
            except BaseException as error:
                outcome.set_exception(error)

        try:
            threading.Thread(target=work, name=self._what, daemon=True).start()
            return await asyncio.wrap_future(outcome)
        finally:
            self._turns.leave(user)
