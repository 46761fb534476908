"""Threads for slow work: what a cancelled caller leaves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hypercontainer.engine.workers import Workers
from hypercontainer.errors import Unavailable
from hypercontainer.image.cancel import Cancellation


@pytest.mark.parametrize("times", [1, 3])
def test_however_often_it_is_cancelled_a_caller_waits_for_its_work(times: int) -> None:
    async def story() -> None:
        workers = Workers("archives", 1)
        may_end, ended = threading.Event(), threading.Event()

        def work(cancelled: Cancellation) -> None:
            cancelled.wait()
            may_end.wait()
            ended.set()

        caller = asyncio.create_task(workers.cancellable(work))
        await asyncio.sleep(0)
        for _ in range(times):
            caller.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            assert not caller.done()
            with pytest.raises(Unavailable):  # its place is not free
                await workers.run(lambda: None)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert ended.is_set()
        await workers.run(lambda: None)

    asyncio.run(story())
