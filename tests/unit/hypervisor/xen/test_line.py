"""The agent's line between the rings and whoever is connected."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Awaitable, Callable

import pytest

from hypercontainer.hypervisor.xen.ring import PAGE, Channel, Line, Rings
from xen_guest import Guest

HUGE = 1 << 20


class FakeChannel(Channel):
    """A page, and a pipe for the events of the guest's."""

    def __init__(self) -> None:
        self.page = bytearray(PAGE)
        self.rings = Rings(memoryview(self.page))
        self.events, self._tell = os.pipe2(os.O_NONBLOCK)
        self.told = asyncio.Event()

    def tell(self) -> None:
        os.write(self._tell, b"x")

    def notify(self) -> None:
        self.told.set()

    def heard(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.events, 4096)

    def close(self) -> None:
        self.rings.release()
        os.close(self.events)
        os.close(self._tell)


def run(test: Callable[[Line, FakeChannel, Guest], Awaitable[None]]) -> None:
    async def main() -> None:
        line, channel = Line(), FakeChannel()
        try:
            async with asyncio.timeout(20):
                await test(line, channel, Guest(channel.page))
        finally:
            line.close()

    asyncio.run(main())


async def written(guest: Guest, channel: FakeChannel, data: bytes) -> None:
    """As a guest does: it says that it has written, and waits for room without a word."""
    while data:
        count = guest.write(data)
        data = data[count:]
        if count:
            channel.tell()
        await asyncio.sleep(0)


async def read(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(end, 1 << 16)
    return data


def test_much_for_a_slow_reader() -> None:
    async def test(line: Line, channel: FakeChannel, guest: Guest) -> None:
        line.attach(channel)
        sent = random.Random(1).randbytes(HUGE)
        with line.connect() as end:
            writing = asyncio.create_task(written(guest, channel, sent))
            await asyncio.sleep(0.1)  # until all buffers are full
            assert not writing.done()
            assert await read(end, HUGE) == sent
            await writing

    run(test)


def test_much_for_a_slow_guest_and_before_it_is_there() -> None:
    async def test(line: Line, channel: FakeChannel, guest: Guest) -> None:
        sent, got = random.Random(2).randbytes(200_000), b""
        with line.connect() as end:
            writing = asyncio.create_task(asyncio.get_running_loop().sock_sendall(end, sent))
            await asyncio.sleep(0.02)
            line.attach(channel)
            while len(got) < len(sent):
                if taken := guest.read():
                    got += taken
                    channel.tell()
                await asyncio.sleep(0)
            await writing
        assert got == sent

    run(test)


def test_a_new_connection_takes_the_place_of_the_former() -> None:
    async def test(line: Line, channel: FakeChannel, guest: Guest) -> None:
        line.attach(channel)
        with line.connect() as former, line.connect() as end:
            assert await asyncio.get_running_loop().sock_recv(former, 1) == b""
            await written(guest, channel, b"hello")
            assert await read(end, 5) == b"hello"

    run(test)


def test_a_guest_that_breaks_its_ring_has_no_line() -> None:
    async def test(line: Line, channel: FakeChannel, guest: Guest) -> None:
        line.attach(channel)
        with line.connect() as end:
            guest.set_index(3, 5000)
            channel.tell()
            assert await asyncio.get_running_loop().sock_recv(end, 1) == b""
        try:
            line.connect()
        except OSError:
            return
        raise AssertionError("it is broken")

    run(test)


def test_who_is_connected_hears_of_the_end_when_the_line_is_closed() -> None:
    """And not when the guest's page is given back, which a domain needs to be removed."""

    async def test(line: Line, channel: FakeChannel, guest: Guest) -> None:
        line.attach(channel)
        with line.connect() as end:
            await written(guest, channel, b"last words")
            assert await read(end, 10) == b"last words"
            line.detach()
            await asyncio.sleep(0)
            with pytest.raises(BlockingIOError):
                end.recv(1)
            line.close()
            assert await asyncio.get_running_loop().sock_recv(end, 1) == b""

    run(test)
