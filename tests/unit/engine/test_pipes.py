"""A body that one task brings and another reads, piece by piece."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from hypercontainer.engine.pipes import PIECES_AHEAD, InputQueue, pieces_of


def test_the_pieces_come_as_they_are_and_end() -> None:
    async def story() -> None:
        queue, seen = InputQueue("cut"), []

        async def bring() -> None:
            nothing = [b""] * 2 * PIECES_AHEAD
            for piece in (b"a", *nothing, b"bc", b"d"):
                await queue.write(piece)
            queue.finish()

        bringing = asyncio.create_task(bring())
        async with contextlib.aclosing(queue.pieces) as pieces:
            seen = [bytes(piece) async for piece in pieces]
        await bringing
        assert seen == [b"a", b"bc", b"d"]

    asyncio.run(story())


def test_who_brings_waits_for_who_reads() -> None:
    async def story() -> None:
        queue, brought = InputQueue("cut"), 0

        async def bring() -> None:
            nonlocal brought
            while True:
                await queue.write(b"x")
                brought += 1

        bringing = asyncio.create_task(bring())
        for _ in range(100):
            await asyncio.sleep(0)
        assert brought == PIECES_AHEAD
        for taken in range(1, 10):
            assert await anext(queue.pieces) == b"x"
            for _ in range(5):
                await asyncio.sleep(0)
            assert brought == PIECES_AHEAD + taken
        await queue.pieces.aclose()
        with pytest.raises(BrokenPipeError):
            await bringing

    asyncio.run(story())


def test_an_end_in_the_middle_is_an_error() -> None:
    async def story() -> None:
        queue = InputQueue("the client went away")
        await queue.write(b"half")
        queue.cut()
        assert await anext(queue.pieces) == b"half"
        with pytest.raises(ConnectionAbortedError, match="the client went away"):
            await anext(queue.pieces)

    asyncio.run(story())


def test_pieces_of_what_is_whole() -> None:
    async def story() -> None:
        assert [piece async for piece in pieces_of(b"abc")] == [b"abc"]

    asyncio.run(story())
