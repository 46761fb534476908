"""Launches and work in threads, which are waited for, whoever is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest

from hypercontainer.hypervisor.launching import Launches, whole


class Vm:
    killed = False

    async def kill(self) -> None:
        self.killed = True


def test_a_launch_that_is_cancelled_twice_is_over_before_who_asked_goes() -> None:
    """Also where it was too late for that: then its VM is."""
    vm = Vm()

    async def case() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def launch() -> Any:
            begun.set()
            while not go_on.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await go_on.wait()
            return vm

        task = asyncio.create_task(Launches[Any]().run(launch(), "one"))
        await begun.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        over = task.done()
        go_on.set()
        assert not over
        with pytest.raises(asyncio.CancelledError):
            await task
        assert vm.killed

    asyncio.run(case())


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
