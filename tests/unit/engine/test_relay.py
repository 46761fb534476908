"""Lent connections on hyperd's side: ends, windows, and guests that break the rules."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hypercontainer.contract.lent import WINDOW_BYTES, LentReader, credit, data, gone
from hypercontainer.engine.process.relay import UNSAID_MAX, Relay
from hypercontainer.engine.process.streams import Pipe
from hypercontainer.errors import AgentProtocolError

Frame = tuple[int, int, int, bytes]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Guest:
    """Is the attachment, and what is behind it.  ``takes`` is not set while it does not read its input."""

    def __init__(self) -> None:
        self.output = Pipe()
        self.takes = asyncio.Event()
        self.takes.set()
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self._frames = LentReader(AssertionError)
        self._heard: list[Frame] = []

    async def read(self, channel: int) -> bytes:
        return await self.output.get()

    async def write(self, said: bytes) -> None:
        await self.takes.wait()
        await self._input.put(said)

    async def hear(self) -> bytes:
        while not self._heard:
            self._heard += self._frames.feed(await self._input.get())
        channel, kind, number, payload = self._heard.pop(0)
        return (data(channel, payload), credit(channel, number), gone(channel))[kind]


@asynccontextmanager
async def relayed(serve: Serve) -> AsyncIterator[tuple[Guest, asyncio.Task[None], list[socket.socket]]]:
    guest, serving, made = Guest(), set(), []

    async def connect() -> socket.socket:
        near, far = socket.socketpair()
        made.append(near)

        async def served() -> None:
            reader, writer = await asyncio.open_unix_connection(sock=far)
            try:
                await serve(reader, writer)
            finally:
                writer.close()

        serving.add(asyncio.create_task(served()))
        return near

    running = asyncio.create_task(Relay(guest, connect).run())  # type: ignore[arg-type]
    try:
        yield guest, running, made
    finally:
        for task in (running, *serving):
            task.cancel()
        await asyncio.gather(running, *serving, return_exceptions=True)


async def in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while said := await reader.read(65536):
        writer.write(said.upper())
    writer.write(b"!")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(within())


async def until_gone(guest: Guest, channel: int) -> list[bytes]:
    """What is said on it, and its end where that is said."""
    said: list[bytes] = []
    while (heard := await guest.hear()) != gone(channel):
        assert heard[0] == channel
        said.append(heard[8:])
    return said


def test_each_direction_ends_by_itself() -> None:
    async def test() -> None:
        async with relayed(in_capitals) as (guest, _, _):
            for _ in range(2):  # the second on the channel that is free again
                await guest.output.put(data(3, b"a word") + data(3))
                said = await until_gone(guest, 3)
                assert (b"".join(said), said[-1]) == (b"A WORD!", b"")
                await guest.output.put(gone(3))

    run(test)


def test_who_hangs_up_is_gone() -> None:
    async def test() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            begun.set()
            await reader.read()
            ended.set()

        async with relayed(until_the_end) as (guest, _, _):
            await guest.output.put(data(0, b"follow"))
            await begun.wait()
            await guest.output.put(gone(0))
            await ended.wait()
            assert await guest.hear() == gone(0)
            await guest.output.put(gone(5))  # of one that had nothing to say
            assert await guest.hear() == gone(5)

    run(test)


def test_one_that_is_not_read_holds_up_nobody_and_keeps_a_window() -> None:
    async def test() -> None:
        async def some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await (silent if await reader.readexactly(1) == b"s" else in_capitals)(reader, writer)

        async with relayed(some) as (guest, running, _):
            await guest.output.put(data(0, b"s") + data(1, b"o"))
            await guest.output.put(data(1, b"x"))
            assert await guest.hear() == data(1, b"X")
            pieces = 0
            while not running.done():  # it is told of no room, and goes on all the same
                await guest.output.put(data(0, b"x" * 16384))
                pieces += 1
                await asyncio.sleep(0)
            with pytest.raises(AgentProtocolError, match="window"):
                running.result()
            assert pieces < 200

    run(test)


def test_a_guest_that_takes_nothing_is_not_kept_for() -> None:
    """It says that it has room, again and again."""

    async def test() -> None:
        sent = 0

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536

        async with relayed(endless) as (guest, running, _):
            await guest.output.put(data(0, b"?"))
            assert (await guest.hear())[:8] == data(0, bytes(WINDOW_BYTES))[:8]
            guest.takes.clear()
            with pytest.raises(AgentProtocolError, match="window"):
                while not running.done():
                    await guest.output.put(credit(0, WINDOW_BYTES))
                    await asyncio.sleep(0)
                running.result()
            assert sent < 1 << 20

    run(test)


def test_connections_that_come_and_go_are_not_kept_for_either() -> None:
    async def test() -> None:
        async with relayed(silent) as (guest, running, made):
            guest.takes.clear()
            written = asyncio.create_task(_come_and_go(guest))
            while len(made) < UNSAID_MAX // 2:
                await asyncio.sleep(0)
            for _ in range(2000):
                await asyncio.sleep(0)
            assert len(made) < 4 * UNSAID_MAX and not written.done() and not running.done()
            written.cancel()

    run(test)


async def _come_and_go(guest: Guest) -> None:
    while True:
        for channel in range(64):
            await guest.output.put(data(channel, b"?"))
        await asyncio.sleep(0)
        for channel in range(64):
            await guest.output.put(gone(channel))


@pytest.mark.parametrize(
    "said",
    [b"\x40" + bytes(7), b"\0\3" + bytes(6), data(0, b"?") + credit(0, WINDOW_BYTES)[:4] + b"\xff" * 4],
)
def test_what_is_no_frame(said: bytes) -> None:
    async def test() -> None:
        async with relayed(silent) as (guest, running, _):
            await guest.output.put(said)
            with pytest.raises(AgentProtocolError):
                await running

    run(test)


def test_it_ends_with_its_program() -> None:
    async def test() -> None:
        async with relayed(silent) as (guest, running, _):
            await guest.output.put(data(0, b"?"))
            guest.output.end()
            await running

    run(test)
