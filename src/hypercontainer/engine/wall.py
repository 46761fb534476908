"""The clock of the wall, for what happens at a time of day; replaceable, as ``health.clock`` is."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Protocol

from hypercontainer.linux.timer import wall_timer


class Wall(Protocol):
    def now(self) -> float:
        """Seconds since the epoch; it may be set, forwards and backwards."""

    async def until(self, at: float) -> None:
        """Returns at that time, or before where the clock was set meanwhile: look again."""


class SystemWall:
    def now(self) -> float:
        return time.time()

    async def until(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        descriptor, reached = wall_timer(at), asyncio.Event()
        try:
            loop.add_reader(descriptor, reached.set)
            await reached.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)


WALL: Wall = SystemWall()
