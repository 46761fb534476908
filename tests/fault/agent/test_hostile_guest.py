"""A guest that speaks garbage costs its own session: soon, in bounded memory, and no other session notices."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fake_agent import FakeGuest, connected
from hypercontainer.agent import session as session_module
from hypercontainer.agent.fields import encode, field
from hypercontainer.agent.frames import frame, greeting, message
from hypercontainer.agent.operations import (
    ContainerOom,
    ContainerPlan,
    Disk,
    GuestLog,
    ProcessExited,
    ProcessPlan,
    Welcome,
)
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import (
    CREDIT,
    EVENT,
    FRAME_MAX,
    HEADER,
    OUTPUT_WINDOW,
    RESPONSE,
    SYNC,
    SYNC_BYTES,
    Event,
    Flag,
    Frame,
    Tag,
)
from hypercontainer.errors import AgentError, AgentProtocolError, AgentTimeout

MEMORY_MAX = 24 << 20

Script = Callable[["Liar"], Awaitable[None]]


class Liar:
    """The guest's end of a session, to say anything with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: int) -> None:
        self.reader = reader
        self.writer = writer
        self.session = session

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def welcome(self, fields: bytes = encode(Welcome())) -> None:
        await self.say(greeting(self.session, Frame.WELCOME, fields))

    async def frame(self, kind: Frame, stream: int = 0, payload: bytes = b"", flags: int = 0) -> None:
        await self.say(frame(self.session, kind, stream, payload, flags))

    async def event(self, code: int, fields: bytes) -> None:
        await self.say(message(self.session, Frame.EVENT, EVENT.pack(code, 0, 0) + fields))


@contextlib.asynccontextmanager
async def against(script: Script) -> AsyncIterator[Agent]:
    """An agent with process 1 (with input) started and its output attached, whose guest runs ``script``."""

    async def guest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            hello = await reader.readexactly(SYNC_BYTES + HEADER.size)
            liar = Liar(reader, writer, HEADER.unpack_from(hello, SYNC_BYTES)[4])
            drain = asyncio.create_task(swallow(reader))
            try:
                await script(liar)
                await drain
            finally:
                drain.cancel()

    async with connected(guest) as pipe:
        agent = Agent.open(*pipe, resumed=False, on_event=lambda event: None)
        agent.create_container(ContainerPlan("c", Disk("image", "erofs")))
        agent.start_process(ProcessPlan("c", 1, ("x",), "/", stdin=True))
        agent.attach_output(1, 1, 0, stuck)
        yield agent
        agent.close()


async def swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass


async def stuck(data: bytes) -> None:
    await asyncio.Event().wait()


def fate(script: Script) -> tuple[AgentError, int]:
    """Why the session ended, and the most memory that was in use meanwhile, in bytes."""

    async def test() -> AgentError:
        async with asyncio.timeout(20):
            async with against(script) as agent:
                neighbour = FakeGuest()
                async with connected(neighbour.serve) as pipe:
                    other = Agent.open(*pipe, resumed=False, on_event=lambda event: None)
                    reason = asyncio.ensure_future(agent.closed())
                    while not reason.done():
                        await other.ping(timeout_s=5)
                        await asyncio.sleep(0)
                    await other.ping(timeout_s=5)
                    other.close()
                return reason.result()

    tracemalloc.start()
    try:
        reason = asyncio.run(test())
        return reason, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def random_bytes(liar: Liar) -> None:
    await liar.welcome()
    for _ in range(100):
        await liar.say(os.urandom(4096))


async def silence_then_zeros(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(bytes(100))


async def huge_length(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(HEADER.pack(0xFFFFFFFF, Frame.DATA, 0, 5, liar.session))


async def other_session(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(frame(liar.session ^ 1, Frame.PING))


async def second_greeting(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(message(liar.session, Frame.WELCOME, struct.pack("<II", 1, liar.session)))


async def second_sync(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(SYNC)


async def event_first(liar: Liar) -> None:
    await liar.say(SYNC)
    await liar.event(Event.LOG, encode(GuestLog("no greeting")))
    await liar.welcome(field(Tag.AGENT, b"x") * 2)


async def wrong_version(liar: Liar) -> None:
    await liar.say(SYNC + message(liar.session, Frame.WELCOME, struct.pack("<II", 2, liar.session)))


async def welcome_of_garbage(liar: Liar) -> None:
    await liar.welcome(os.urandom(3000))


async def endless_welcome(liar: Liar) -> None:
    await liar.say(SYNC)
    while True:
        await liar.frame(Frame.WELCOME, 0, bytes(FRAME_MAX), Flag.MORE)


async def endless_hunt(liar: Liar) -> None:
    block = SYNC + greeting(liar.session ^ 1, Frame.WELCOME)
    while True:
        await liar.say(block * 2000)


async def endless_message(liar: Liar) -> None:
    await liar.welcome()
    while True:
        await liar.frame(Frame.EVENT, 0, bytes(FRAME_MAX), Flag.MORE)


async def answer_nobody_asked_for(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(message(liar.session, Frame.RESPONSE, RESPONSE.pack(777, 0)))


async def answer_twice(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(message(liar.session, Frame.RESPONSE, RESPONSE.pack(1, 0)) * 2)


async def answer_with_garbage(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(message(liar.session, Frame.RESPONSE, RESPONSE.pack(1, 0) + os.urandom(500)))


async def answer_cut_short(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(message(liar.session, Frame.RESPONSE, b"\1\0"))


async def pong_nobody_asked_for(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.PONG, 0, b"12345678")


async def ping_flood(liar: Liar) -> None:
    await liar.welcome()
    while True:
        await liar.say(frame(liar.session, Frame.PING, payload=bytes(64)) * 1000)


async def log_flood(liar: Liar) -> None:
    await liar.welcome()
    while True:
        await liar.event(Event.LOG, encode(GuestLog("x" * 1000)))


async def oom_flood(liar: Liar) -> None:
    await liar.welcome()
    while True:
        await liar.event(Event.OOM, encode(ContainerOom("c")))


async def exit_flood(liar: Liar) -> None:
    await liar.welcome()
    while True:
        await liar.event(Event.PROCESS_EXITED, encode(ProcessExited(1, 0, 0)))


async def exit_of_nobody(liar: Liar) -> None:
    await liar.welcome()
    await liar.event(Event.PROCESS_EXITED, encode(ProcessExited(2, 0, 0)))


async def unknown_event(liar: Liar) -> None:
    await liar.welcome()
    await liar.event(9, b"")


async def data_on_unknown_stream(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.DATA, 1 << 20, b"x")


async def data_on_stream_without_credit(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.DATA, 4 + 2, b"x")


async def data_on_no_stream(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.DATA, 4 + 3, b"x")


async def data_on_input(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.DATA, 4, b"x")


async def data_beyond_the_window(liar: Liar) -> None:
    await liar.welcome()
    for _ in range(3):
        await liar.frame(Frame.DATA, 5, bytes(OUTPUT_WINDOW // 2))


async def tiny_data_beyond_the_window(liar: Liar) -> None:
    await liar.welcome()
    one = frame(liar.session, Frame.DATA, 5, b"x" * 8)
    for _ in range(OUTPUT_WINDOW // 8192 + 1):
        await liar.say(one * 1024)


async def data_after_eof(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.EOF, 5)
    await liar.frame(Frame.DATA, 5, b"x")


async def eof_twice(liar: Liar) -> None:
    await liar.welcome()
    await liar.say(frame(liar.session, Frame.EOF, 5) * 2)


async def credit_on_output(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.CREDIT, 5, CREDIT.pack(0, 1))


async def credit_for_what_was_not_sent(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.CREDIT, 4, CREDIT.pack(0, 10))
    await liar.frame(Frame.CREDIT, 4, CREDIT.pack(5, 10))


async def credit_taken_back(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.CREDIT, 4, CREDIT.pack(0, 10))
    await liar.frame(Frame.CREDIT, 4, CREDIT.pack(0, 9))


async def reset_on_output(liar: Liar) -> None:
    await liar.welcome()
    await liar.frame(Frame.RESET, 5)


LIES = [
    random_bytes,
    silence_then_zeros,
    huge_length,
    other_session,
    second_greeting,
    second_sync,
    event_first,
    wrong_version,
    welcome_of_garbage,
    endless_welcome,
    endless_hunt,
    endless_message,
    answer_nobody_asked_for,
    answer_twice,
    answer_with_garbage,
    answer_cut_short,
    pong_nobody_asked_for,
    ping_flood,
    log_flood,
    oom_flood,
    exit_flood,
    exit_of_nobody,
    unknown_event,
    data_on_unknown_stream,
    data_on_stream_without_credit,
    data_on_no_stream,
    data_on_input,
    data_beyond_the_window,
    tiny_data_beyond_the_window,
    data_after_eof,
    eof_twice,
    credit_on_output,
    credit_for_what_was_not_sent,
    credit_taken_back,
    reset_on_output,
]


@pytest.mark.parametrize("script", LIES, ids=lambda script: script.__name__)
def test_a_lie_ends_the_session(script: Script) -> None:
    reason, peak = fate(script)
    assert isinstance(reason, AgentProtocolError), reason
    assert peak < MEMORY_MAX


@pytest.mark.parametrize("seed", range(25))
def test_true_frames_with_bytes_changed(seed: int) -> None:
    """A session's true bytes, some of them changed: it ends, or goes on; nothing else happens."""
    generator = random.Random(seed)

    async def mutated(liar: Liar) -> None:
        answers = [message(liar.session, Frame.RESPONSE, RESPONSE.pack(number, 0)) for number in (1,)]
        started = message(liar.session, Frame.RESPONSE, RESPONSE.pack(2, 0) + field(Tag.PID, b"\7\0\0\0"))
        data = [frame(liar.session, Frame.DATA, 5, generator.randbytes(50)) for _ in range(20)]
        events = [EVENT.pack(Event.LOG, 0, 0) + encode(GuestLog("hello"))]
        stream = b"".join(
            [*answers, started, *data, *(message(liar.session, Frame.EVENT, e) for e in events)]
        )
        changed = bytearray(stream)
        for _ in range(generator.randint(1, 5)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        await liar.welcome()
        await liar.say(bytes(changed))
        liar.writer.close()

    reason, peak = fate(mutated)
    assert isinstance(reason, AgentError)
    assert peak < MEMORY_MAX


def test_silence_in_the_middle_of_a_frame() -> None:
    async def half_a_frame(liar: Liar) -> None:
        await liar.welcome()
        await liar.say(frame(liar.session, Frame.DATA, 5, bytes(1000))[:500])

    async def test() -> None:
        async with against(half_a_frame) as agent:
            await agent.welcome(5)
            with pytest.raises(AgentTimeout):
                await agent.stats(timeout_s=0.2)
            assert "middle of a frame" in str(await agent.closed())

    asyncio.run(asyncio.wait_for(test(), 10))


def test_a_guest_that_does_not_read_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings that it sends and never reads the answers of, and requests that it does not take."""
    monkeypatch.setattr(session_module, "CHATTER_PER_S", 1e9)

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = await reader.readexactly(SYNC_BYTES + HEADER.size)
        session = HEADER.unpack_from(hello, SYNC_BYTES)[4]
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(greeting(session, Frame.WELCOME, encode(Welcome())))
        ping = frame(session, Frame.PING, payload=bytes(64)) * 1000
        while True:
            writer.write(ping)
            await writer.drain()

    async def test() -> AgentError:
        async with connected(deaf) as pipe:
            agent = Agent.open(*pipe, resumed=False, on_event=lambda event: None)
            return await asyncio.wait_for(agent.closed(), 30)

    assert "flood of pings" in str(asyncio.run(test()))
