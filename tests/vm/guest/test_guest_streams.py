"""Streams of a real guest: every byte, in order, whatever is cut, slow or too much."""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from contextlib import suppress

import pytest

from guest_machine import (
    Collected,
    Machine,
    RunScenario,
    Scenario,
    Session,
    container_plan,
    process_plan,
    vm_config,
)
from hypercontainer.agent.operations import ProcessExited
from hypercontainer.agent.wire import Stream
from hypercontainer.errors import AgentError

pytestmark = pytest.mark.vm

MIB = 1 << 20


async def fifty_megabytes(vm: Machine, session: Session) -> None:
    agent = session.agent
    await agent.create_container(container_plan("c"))
    plan = process_plan("c", 1, "cat", init=True, stdin=True)
    sent, received = hashlib.sha256(), hashlib.sha256()
    size = 0

    async def sink(data: bytes) -> None:
        nonlocal size
        received.update(data)
        size += len(data)

    started = agent.start_process(plan)
    output = agent.attach_output(1, Stream.STDOUT, 0, sink)
    await started
    source = random.Random(1)
    for _ in range(50):
        block = source.randbytes(MIB)
        sent.update(block)
        await agent.input(1).write(block)
    await agent.input(1).eof()
    await output.finished()
    assert size == 50 * MIB
    assert received.digest() == sent.digest()
    assert await session.status(1) == 0


async def a_stalled_reader(vm: Machine, session: Session) -> None:
    """One stream that nobody reads stands still; another goes on, and so do answers."""
    agent = session.agent
    await agent.create_container(container_plan("c"))
    started = agent.start_process(process_plan("c", 1, "yes", init=True))
    gate = asyncio.Event()
    stalled = bytearray()

    async def slow(data: bytes) -> None:
        stalled.extend(data)
        await gate.wait()

    agent.attach_output(1, Stream.STDOUT, 0, slow)
    await started
    for i in range(3):
        status, text = await session.run("c", "sh", "-c", f"seq 1 {20000 + i}")
        assert status == 0
        assert text.endswith(f"\n{20000 + i}\n")
        await agent.ping()
    assert len(stalled) <= 131072
    size = len(stalled)
    gate.set()
    while len(stalled) < size + MIB:
        await agent.ping()
    assert bytes(stalled[: 2 * MIB]).strip(b"y\n") == b""


LINES = 12000


async def cut_at_any_byte(vm: Machine, session: Session) -> None:
    """Sessions are cut at random bytes while output flows; the whole of it arrives in the end."""
    source = random.Random(20)
    await session.agent.create_container(container_plan("c"))
    script = f"i=0; while [ $i -lt {LINES} ]; do echo line $i of a text that is long enough; i=$((i+1)); done; exit 5"
    started = session.agent.start_process(process_plan("c", 1, "sh", "-c", script, init=True))
    text = bytearray()
    collected = session.collect(1)
    await started
    cuts = 0
    while await collected.reaches(source.randrange(1, 40000)):
        session.agent.signal(1, 0)  # half of a request, perhaps
        session.writer.transport.abort()
        collected.stream.cancel()
        text += collected.data[: collected.stream.acknowledged - len(text)]
        cuts += 1
        session = await vm.greeted()
        (process,) = (await session.agent.welcome(30)).processes
        (state,) = [s for s in process.streams if s.stream == 4 + Stream.STDOUT]
        assert state.acked_bytes <= len(text) <= state.end_bytes
        collected = Collected(session.agent, 1, Stream.STDOUT, len(text))
    text += collected.data
    assert bytes(text) == b"".join(b"line %d of a text that is long enough\n" % i for i in range(LINES))
    assert cuts > 3
    (process,) = (await session.agent.welcome(1)).processes
    assert process.wait_status == 5 << 8 if process.exited else await session.status(1) == 5


async def raw_cuts(vm: Machine, session: Session) -> None:
    """Connections that die after any number of bytes, and ones that send garbage, cost nothing but themselves."""
    source = random.Random(21)
    await session.agent.create_container(container_plan("c"))
    await session.agent.start_process(process_plan("c", 1, "cat", init=True, stdin=True))
    session.writer.transport.abort()
    for i in range(30):
        reader, writer = await vm.connect()
        size = source.choice((1, 15, 16, 17, 40, 1000, 70000, 200000))
        garbage = source.randbytes(size)
        if i % 3 == 0:
            garbage = b"\x93hyper\r\n\x1a\x00sync\xfe\x01" + garbage
        writer.write(garbage)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.drain()
        writer.transport.abort()
        del reader
    session = await vm.greeted()
    welcome = await session.agent.welcome(30)
    assert welcome.containers == ("c",)
    assert [process.exited for process in welcome.processes] == [False]
    output = Collected(session.agent, 1, Stream.STDOUT)
    word = secrets.token_hex(8).encode()
    await session.agent.input(1).write(word)
    await output.until(word)


async def nobody_there(vm: Machine, session: Session) -> None:
    """While no host is connected processes run, end, and are told of later; and the guest idles."""
    await session.agent.configure(vm_config())
    await session.agent.create_container(container_plan("c"))
    await session.agent.start_process(process_plan("c", 1, "sleep", "1000", init=True))
    await session.agent.start_process(process_plan("c", 2, "sh", "-c", "sleep 1; echo said; exit 9"))
    await session.agent.start_process(process_plan("c", 3, "yes"))
    session.writer.transport.abort()
    await asyncio.sleep(4)
    before = cpu_ticks(vm)
    await asyncio.sleep(3)
    used = cpu_ticks(vm) - before
    assert used <= 30, f"QEMU used {used} hundredths of a second in 3 s of idling"
    session = await vm.greeted()
    welcome = await session.agent.welcome(30)
    states = {process.process: process for process in welcome.processes}
    assert states[2].exited
    assert states[2].wait_status == 9 << 8
    assert not states[3].exited
    assert await session.collect(2).text() == "said\n"
    yes = next(stream for stream in states[3].streams if stream.stream == 13)
    assert (yes.acked_bytes, yes.end_bytes) == (0, 131072)
    with pytest.raises(AgentError):
        await session.agent.forget(1)
    await session.agent.forget(2)
    assert not any(isinstance(event, ProcessExited) for event in session.events)


def cpu_ticks(vm: Machine) -> int:
    with open(f"/proc/{vm.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(fifty_megabytes, marks=pytest.mark.each_driver),
        a_stalled_reader,
        cut_at_any_byte,
        raw_cuts,
        nobody_there,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_streams(guest: RunScenario, scenario: Scenario) -> None:
    guest(scenario)
