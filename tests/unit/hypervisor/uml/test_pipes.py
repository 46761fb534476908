"""Two pipes as one connection: for streams and for protocols with buffers of their own, slow and broken peers, and for
one session after another."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from hypercontainer.agent.fields import encode
from hypercontainer.agent.frames import greeting, message
from hypercontainer.agent.operations import Event, GuestLog
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import EVENT, Frame
from hypercontainer.agent.wire import Event as EventCode
from hypercontainer.hypervisor.agent_port import AgentPort
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


def said_by(agent: Agent, text: str) -> bytes:
    """By its guest, with the greeting before it."""
    said = EVENT.pack(EventCode.LOG, 0, 0) + encode(GuestLog(text))
    return greeting(agent.session, Frame.WELCOME) + message(agent.session, Frame.EVENT, said)


def test_what_is_said_to_a_session_is_not_heard_by_the_one_before(tell: Tell) -> None:
    """Whose end it is told of when the guest may have answered the next one already."""

    async def story(peer: Peer) -> None:
        port = AgentPort(lambda: pipes.connect(peer.into, peer.out))
        former = Agent.open(*await port.connect(), resumed=False, on_event=lambda event: None)
        heard: list[Event] = []
        for _ in range(3):
            agent = Agent.open(*await port.connect(), resumed=False, on_event=heard.append)
            os.write(peer.writes, said_by(agent, "hello"))
            await former.closed()
            await agent.welcome(5)
            former = agent
        port.part()
        await former.closed()
        assert heard == [GuestLog("hello")] * 3

    tell(story)


def test_who_is_parted_from_a_guest_that_is_gone_hears_its_last_words(tell: Tell) -> None:
    async def story(peer: Peer) -> None:
        port = AgentPort(lambda: pipes.connect(peer.into, peer.out))
        heard: list[Event] = []
        agent = Agent.open(*await port.connect(), resumed=False, on_event=heard.append)
        os.write(peer.writes, said_by(agent, "farewell"))
        peer.leave()
        port.part()
        await agent.closed()
        assert heard == [GuestLog("farewell")]

    tell(story)
