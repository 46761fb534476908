"""Work in a thread that is waited for, whoever is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hypercontainer.hypervisor.launching import whole


def test_a_cancelled_one_returns_once_the_thread_is_done() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait()
        done.set()
        raise OSError("nobody is told")

    async def case() -> None:
        task = asyncio.create_task(whole(work))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done.is_set()

    asyncio.run(case())


def test_its_result_and_its_error_are_the_callers() -> None:
    assert asyncio.run(whole(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(whole(divmod, 7, 0))
