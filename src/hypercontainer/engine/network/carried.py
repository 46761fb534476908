"""What carries the networks' way out, watched: one that is killed is missed at once, not when somebody next asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypercontainer.linux.process import Identity, Process

PAUSE_S = 1.0  # that one is to live at least, so that who ends at once is not made again and again


class Watch:
    """``missed`` is called each time that the process which is watched has ended."""

    def __init__(self, missed: Callable[[], Awaitable[object]]) -> None:
        self._missed = missed
        self._task: asyncio.Task[None] | None = None

    def follow(self, identity: Identity | None) -> None:
        """This one, and no other any more."""
        former, self._task = self._task, None
        if former is not None and former is not asyncio.current_task():
            former.cancel()
        if identity is not None:
            self._task = asyncio.create_task(self._wait(identity), name="the networks' way out")

    async def _wait(self, identity: Identity) -> None:
        began = asyncio.get_running_loop().time()
        process = Process.open(identity)
        if process is not None:
            try:
                await process.wait()
            finally:
                process.close()
        await asyncio.sleep(began + PAUSE_S - asyncio.get_running_loop().time())
        await self._missed()

    async def close(self) -> None:
        if (task := self._task) is not None:
            self.follow(None)
            await asyncio.wait([task])
