"""Two pipes as one connection: for streams and for protocols with buffers of their own, slow and broken peers."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.uml import pipes

MEBIBYTE = 1 << 20


class Peer:
    """Who holds both ends of both pipes."""

    def __init__(self, run: RunDir, stack: ExitStack) -> None:
        self.into, self.out = run.path / "in", run.path / "out"
        self.reads, self.writes = run.make_pipe(self.into), run.make_pipe(self.out)
        self._stack = stack
        for fd in (self.reads, self.writes):
            stack.callback(os.close, fd)

    def leave(self) -> None:
        self._stack.close()

    async def read(self, count: int) -> bytes:
        loop, got = asyncio.get_running_loop(), b""
        while len(got) < count:
            there = loop.create_future()
            loop.add_reader(self.reads, there.set_result, None)
            await there
            loop.remove_reader(self.reads)
            got += os.read(self.reads, count - len(got))
        return got


Story = Callable[[Peer], Awaitable[None]]
Tell = Callable[[Story], None]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    def run(story: Story) -> None:
        async def whole(stack: ExitStack) -> None:
            async with asyncio.timeout(30):
                await story(Peer(RunDir(tmp_path), stack))

        before = os.listdir("/proc/self/fd")
        with ExitStack() as stack:
            asyncio.run(whole(stack))
        assert os.listdir("/proc/self/fd") == before

    return run


def test_bytes_go_both_ways_and_wait_for_whoever_comes(tell: Tell) -> None:
    async def story(peer: Peer) -> None:
        os.write(peer.writes, b"before")
        reader, writer = await pipes.connect(peer.into, peer.out)
        assert await reader.readexactly(6) == b"before"
        writer.write(b"hello")
        assert await peer.read(5) == b"hello"
        writer.write(b"left behind")
        writer.close()
        await writer.wait_closed()
        again, writer = await pipes.connect(peer.into, peer.out)
        assert await peer.read(11) == b"left behind"
        os.write(peer.writes, b"again")
        assert await again.readexactly(5) == b"again"
        writer.close()
        await writer.wait_closed()

    tell(story)


def test_a_peer_that_does_not_read_is_waited_for(tell: Tell) -> None:
    async def story(peer: Peer) -> None:
        _, writer = await pipes.connect(peer.into, peer.out)
        data = os.urandom(MEBIBYTE)
        writer.write(data[: MEBIBYTE // 2])
        writer.write(data[MEBIBYTE // 2 :])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await writer.drain()
        writer.close()  # which is over when all is written
        assert await peer.read(MEBIBYTE) == data
        await writer.wait_closed()

    tell(story)


def test_a_peer_that_is_gone_is_the_end(tell: Tell) -> None:
    async def story(peer: Peer) -> None:
        reader, writer = await pipes.connect(peer.into, peer.out)
        os.write(peer.writes, b"last words")
        peer.leave()
        assert await reader.read() == b"last words"
        with pytest.raises(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
        with pytest.raises(OSError, match="No such device"):
            await pipes.connect(peer.into, peer.out)
        with pytest.raises(BrokenPipeError):
            await writer.wait_closed()

    tell(story)


class Counting(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(4096)
        self.got = b""
        self.arrived = asyncio.Event()
        self.lost = asyncio.Event()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.got += self.buffer[:nbytes]
        self.arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def test_a_protocol_may_take_over_pause_and_leave(tell: Tell) -> None:
    async def story(peer: Peer) -> None:
        _, writer = await pipes.connect(peer.into, peer.out)
        transport = writer.transport
        assert isinstance(transport, pipes.PipesTransport)
        protocol = Counting()
        transport.set_protocol(protocol)
        transport.pause_reading()
        os.write(peer.writes, b"one")
        await asyncio.sleep(0)
        assert not protocol.arrived.is_set()
        transport.resume_reading()
        await protocol.arrived.wait()
        assert protocol.got == b"one"
        os.write(peer.writes, b"unread")
        flags = fcntl.fcntl(transport.get_extra_info("pipe").fileno(), fcntl.F_GETFL)
        assert flags & os.O_NONBLOCK
        transport.abort()
        transport.abort()
        assert transport.is_closing()
        await protocol.lost.wait()

    tell(story)
