"""The clock of the wall, by the kernel's own timer."""

from __future__ import annotations

import asyncio
import os
import time

from hypercontainer.engine.wall import SystemWall


def test_it_returns_when_the_time_has_come_and_leaves_no_descriptor() -> None:
    async def story() -> None:
        wall, before = SystemWall(), os.listdir("/proc/self/fd")
        at = time.time() + 0.02
        await wall.until(at)
        assert wall.now() >= at
        await wall.until(at - 3600)  # of the past: at once
        await wall.until(0)
        assert os.listdir("/proc/self/fd") == before

    asyncio.run(story())


def test_one_that_is_given_up_leaves_no_descriptor() -> None:
    async def story() -> None:
        wall, before = SystemWall(), os.listdir("/proc/self/fd")
        waiting = asyncio.create_task(wall.until(time.time() + 3600))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert os.listdir("/proc/self/fd") == before

    asyncio.run(story())
