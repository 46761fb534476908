"""A clock for tests that passes hours in no time (``engine.health.clock.Clock``)."""

from __future__ import annotations

import asyncio
import heapq
import itertools

SETTLE_TURNS = 50  # of the event loop, in which everything that can go on has done so


class VirtualClock:
    """Time stands still until ``advance``; then sleepers wake in the order of their times."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        until = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self._now = until


async def settle() -> None:
    for _ in range(SETTLE_TURNS):
        await asyncio.sleep(0)


class VirtualWall:
    """A clock of the wall (``engine.wall.Wall``) that goes as a virtual clock does, from ``began`` on."""

    def __init__(self, clock: VirtualClock, began: float) -> None:
        self._clock = clock
        self._began = began

    def now(self) -> float:
        return self._began + self._clock.now()

    async def until(self, at: float) -> None:
        await self._clock.sleep(at - self.now())
