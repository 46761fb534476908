"""Threads for slow work: what a cancelled caller leaves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

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


def test_pieces_come_from_one_thread_which_is_one_ahead() -> None:
    async def story() -> None:
        read: list[tuple[int, int]] = []

        def next_piece() -> bytes:
            read.append((len(read), threading.get_ident()))
            return b"" if len(read) > 5 else bytes([len(read)])

        workers = Workers("archives", 1)
        seen = b""
        async with contextlib.aclosing(workers.pieces(next_piece)) as pieces:
            async for piece in pieces:
                seen += piece
                assert len(read) <= len(seen) + 2
        assert seen == bytes([1, 2, 3, 4, 5])
        assert len({ident for _, ident in read}) == 1
        assert await free_again(workers)

    asyncio.run(story())


def test_what_goes_amiss_with_pieces_is_told_after_those_before_it() -> None:
    async def story() -> None:
        answers: Iterator[bytes | OSError] = iter([b"a", OSError("gone"), b"never"])

        def next_piece() -> bytes:
            answer = next(answers)
            if isinstance(answer, OSError):
                raise answer
            return answer

        workers, seen = Workers("archives", 1), b""
        with pytest.raises(OSError, match="gone"):
            async for piece in workers.pieces(next_piece):
                seen += piece
        assert seen == b"a"
        assert await free_again(workers)
        assert next(answers) == b"never"

    asyncio.run(story())


def test_who_wants_no_more_pieces_leaves_the_thread_in_its_call() -> None:
    async def story() -> None:
        second, may_go_on, calls = threading.Event(), threading.Event(), []

        def next_piece() -> bytes:
            calls.append(1)
            if len(calls) > 1:
                second.set()
                may_go_on.wait()
            return b"a"

        workers = Workers("archives", 1)
        pieces = workers.pieces(next_piece)
        assert await anext(pieces) == b"a"
        await asyncio.to_thread(second.wait)
        await pieces.aclose()
        with pytest.raises(Unavailable):  # its place is not free
            await workers.run(lambda: None)
        may_go_on.set()
        assert await free_again(workers)
        assert len(calls) == 2

    asyncio.run(story())


async def free_again(workers: Workers) -> bool:
    """Waits until the one place is free."""
    while True:
        try:
            return await workers.run(lambda: True)
        except Unavailable:
            await asyncio.sleep(0)
