"""Threads for work that somebody outside can hold up: a client that sends nothing, a registry that answers slowly.

The event loop's own executor has a few threads for everybody, and whoever may keep one of them for long stops the
others' calls.  So such work has threads of its own: one a call, gone with it, and bounded in number.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from hypercontainer.errors import Unavailable
from hypercontainer.image.cancel import Cancellation
from hypercontainer.linux.waiting import ended

T = TypeVar("T")


class Workers:
    """At most ``limit`` threads at once.  Who comes when all are at work waits where ``waits`` says so: where each of
    them ends in time, whatever others do; else is refused.  ``what`` they do, for people: "archives"."""

    def __init__(self, what: str, limit: int, *, waits: bool = False) -> None:
        self._what, self._limit, self._waits = what, limit, waits
        self._free = asyncio.Semaphore(limit)

    async def run(self, call: Callable[[], T]) -> T:
        """``call``'s outcome.  A cancelled caller leaves the thread at work, which keeps its place until it ends."""
        await self._take_place()
        return await asyncio.shield(asyncio.ensure_future(self._work(call)))

    async def cancellable(self, call: Callable[[Cancellation], T]) -> T:
        """``call``'s outcome; a cancelled caller cancels it and waits for its end."""
        await self._take_place()
        cancelled = Cancellation()
        work = asyncio.ensure_future(self._work(lambda: call(cancelled)))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancelled.set()
            await ended(work)
            raise

    async def _take_place(self) -> None:
        if self._free.locked() and not self._waits:
            raise Unavailable(
                f"hyperd works on {self._limit} {self._what} already", hint="wait for one of them to end"
            )
        await self._free.acquire()

    async def _work(self, call: Callable[[], T]) -> T:
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
            self._free.release()
