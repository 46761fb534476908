"""The pipe under a session: who owns it, and what is still heard when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Awaitable, Callable

import pytest

from fake_agent import FakeGuest, connected
from hypercontainer.agent.fields import encode
from hypercontainer.agent.frames import frame, greeting, message
from hypercontainer.agent.operations import Event, ProcessExited, ProcessPlan, Started
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import EVENT, RESPONSE, Frame, Stream
from hypercontainer.agent.wire import Event as EventCode
from hypercontainer.errors import AgentError


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def test_the_session_owns_its_pipe() -> None:
    """Nobody else holds the stream pair."""

    async def test() -> None:
        guest = FakeGuest()
        host, far = socket.socketpair()
        served = asyncio.create_task(guest.serve(*await asyncio.open_connection(sock=far)))
        agent = Agent.open(
            *await asyncio.open_connection(sock=host), resumed=False, on_event=lambda event: None
        )
        gc.collect()
        await agent.ping()
        agent.close()
        await served  # it saw the end

    run(test)


def test_who_waits_for_the_writer_hears_of_the_end() -> None:
    async def test() -> None:
        async with connected(FakeGuest().serve) as (reader, writer):
            agent = Agent.open(reader, writer, resumed=False, on_event=lambda event: None)
            await agent.shutdown()
            await agent.closed()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(test)


def test_the_last_words_of_a_vm_that_is_gone() -> None:
    """It wrote, ended and closed; the first thing that the host does is to write, which fails."""

    async def test() -> None:
        ours, far = socket.socketpair()
        events: list[Event] = []
        agent = Agent.open(*await asyncio.open_connection(sock=ours), resumed=False, on_event=events.append)
        agent.start_process(ProcessPlan("c", 1, ("x",)))
        got = bytearray()

        async def sink(data: bytes) -> None:
            got.extend(data)

        stream = agent.attach_output(1, Stream.STDOUT, 0, sink)
        session, words = agent.session, [bytes([number % 256]) * 100 for number in range(700)]
        far.sendall(greeting(session, Frame.WELCOME))
        far.sendall(message(session, Frame.RESPONSE, RESPONSE.pack(1, 0) + encode(Started(7))))
        far.sendall(b"".join(frame(session, Frame.DATA, 5, data) for data in words))
        far.sendall(frame(session, Frame.EOF, 5))
        exited = encode(ProcessExited(1, 0, 5))
        far.sendall(message(session, Frame.EVENT, EVENT.pack(EventCode.PROCESS_EXITED, 0, 0) + exited))
        far.close()
        pending = agent.stats()
        await stream.finished()
        assert got == b"".join(words)
        assert events == [ProcessExited(1, 0, 5)]
        with pytest.raises(AgentError, match="closed"):
            await pending

    run(test)
