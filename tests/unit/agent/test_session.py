"""A session with a well-behaved guest: operations, streams, deadlines, and what is left when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from signal import SIGTERM
from typing import TypeVar

import pytest

from fake_agent import FakeGuest, connected
from fake_process import FakeProcess
from hypercontainer.agent.operations import (
    ContainerPlan,
    Disk,
    Event,
    FileSystem,
    ProcessExited,
    ProcessPlan,
    VmConfig,
    VolumePlan,
)
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import INPUT_WINDOW, OUTPUT_WINDOW, Operation, Stream
from hypercontainer.engine.process.process import exit_status
from hypercontainer.errors import (
    AgentError,
    AgentTimeout,
    GuestError,
    InvalidArgument,
    NotFound,
    StreamClosed,
)

T = TypeVar("T")
CONFIG = VmConfig("host", "", 1, b"entropy")
CONTAINER = ContainerPlan("c", Disk("image", "erofs"))


class Host:
    """An agent, and what it told."""

    def __init__(self, agent: Agent, guest: FakeGuest) -> None:
        self.agent = agent
        self.guest = guest
        self.events: list[Event] = []
        self.exits: dict[int, asyncio.Future[int]] = {}

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ProcessExited):
            self.exit(event.process).set_result(exit_status(event.wait_status))

    def exit(self, process: int) -> asyncio.Future[int]:
        return self.exits.setdefault(process, asyncio.get_running_loop().create_future())

    async def start(self, *args: str, process: int = 1, stdin: bool = False, tty: bool = False) -> None:
        if "c" not in self.guest.containers:
            await self.agent.create_container(CONTAINER)
        await self.agent.start_process(ProcessPlan("c", process, args, "/", stdin=stdin, tty=tty))

    def collect(self, process: int = 1, which: Stream = Stream.STDOUT) -> Callable[[], Awaitable[bytes]]:
        parts: list[bytes] = []

        async def sink(data: bytes) -> None:
            parts.append(data)

        stream = self.agent.attach_output(process, which, 0, sink)

        async def finished() -> bytes:
            await stream.finished()
            return b"".join(parts)

        return finished


@contextlib.asynccontextmanager
async def session(guest: FakeGuest | None = None, *, resumed: bool = False) -> AsyncIterator[Host]:
    guest = guest or FakeGuest()
    async with connected(guest.serve) as (reader, writer):
        hosts: list[Host] = []
        agent = Agent.open(reader, writer, resumed=resumed, on_event=lambda event: hosts[0].on_event(event))
        hosts.append(Host(agent, guest))
        yield hosts[0]
        agent.close()
        await guest.stop()


def run(test: Callable[[], Awaitable[T]]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await test()

    return asyncio.run(bounded())


def test_a_cold_start_is_one_burst() -> None:
    async def test() -> None:
        async with session(FakeGuest(boot_s=0.05)) as host:
            agent = host.agent
            plan = ProcessPlan("c", 1, ("cat",), "/", stdin=True)
            pending = (agent.configure(CONFIG), agent.create_container(CONTAINER), agent.start_process(plan))
            output = host.collect()
            assert host.guest.session == 0  # the guest has not booted
            await agent.input(1).write(b"hello")
            await agent.input(1).eof()
            assert await output() == b"hello"
            assert list(await asyncio.gather(*pending)) == [None, None, 101]
            assert await host.exit(1) == 0
            welcome = await agent.welcome(1)
            assert (welcome.agent, welcome.containers) == ("fake", ())
        assert [operation for operation, _ in host.guest.requests] == [
            Operation.CONFIGURE,
            Operation.CONTAINER_CREATE,
            Operation.PROCESS_START,
        ]

    run(test)


@pytest.mark.parametrize(("version", "known"), [("0.1.0", False), ("fake", True)])
def test_a_guest_of_an_earlier_release_is_asked_for_what_it_knows(version: str, known: bool) -> None:
    """It refuses a request with a field that it does not know."""

    async def test() -> None:
        guest = FakeGuest()
        guest.version = version
        async with session(guest, resumed=True) as host:
            await host.agent.welcome(10)
            await host.agent.add_volume(VolumePlan("v", mount=FileSystem("tmpfs", "tmpfs"), tidy=True))
            await host.agent.create_container(dataclasses.replace(CONTAINER, cwd="/there"))
            await host.start("sleep")
            await host.agent.signal(1, SIGTERM, patient=True)
        (_, volume), (_, container), _, (_, signal) = guest.requests
        assert (volume.tidy, container.cwd) == ((True, "/there") if known else (False, None))
        assert signal.patient == known

    run(test)


@pytest.mark.parametrize("status", [0, 1, 42, 125, 126, 127, 128, 255])
def test_exit_statuses(status: int) -> None:
    async def test() -> int:
        async with session() as host:
            await host.start("exit", str(status))
            return await host.exit(1)

    assert run(test) == status


def test_operations() -> None:
    async def test() -> None:
        async with session() as host:
            agent = host.agent
            await host.start("sleep")
            assert [task.command for task in await agent.tasks("c")] == ["sleep"]
            assert (await agent.stats("c")).pids == 1
            assert (await agent.stats()).memory_bytes > 0
            await agent.freeze("c", True)
            assert host.guest.frozen == {"c"}
            await agent.freeze("c", False)
            assert not host.guest.frozen
            await agent.resize(1, 50, 132)
            assert (host.guest.processes[1].rows, host.guest.processes[1].columns) == (50, 132)
            await agent.set_time(123)
            assert host.guest.time_ns == 123
            await agent.ping()
            with pytest.raises(GuestError) as busy:
                await agent.forget(1)
            assert (busy.value.errno, busy.value.operation) == (16, "process forget")
            await agent.signal(1, 15)
            assert await host.exit(1) == 143
            await agent.forget(1)
            await agent.destroy_container("c")
            assert not host.guest.containers
            await agent.shutdown()
            assert "closed" in str(await agent.closed())

    run(test)


def test_signal_all_and_init_takes_the_others_along() -> None:
    async def test() -> None:
        async with session() as host:
            await host.agent.create_container(CONTAINER)
            for number in (1, 2, 3):
                await host.agent.start_process(ProcessPlan("c", number, ("sleep",), "/", init=number == 1))
            await host.agent.signal(1, 2, all=True)
            assert [await host.exit(number) for number in (1, 2, 3)] == [130, 130, 130]
            assert len(host.events) == 3

    run(test)


def test_a_process_that_cannot_start() -> None:
    async def test() -> None:
        async with session() as host:
            await host.agent.create_container(CONTAINER)
            started = host.agent.start_process(ProcessPlan("c", 1, ("nosuch",), "/", stdin=True))
            stream = host.agent.attach_output(1, Stream.STDOUT, 0, lambda data: asyncio.sleep(0))
            stdin = host.agent.input(1)
            with pytest.raises(GuestError, match="nosuch") as error:
                await started
            assert error.value.errno == 2
            for waiting in (stream.finished(), stdin.write(b"x")):
                with pytest.raises(GuestError, match="nosuch"):
                    await waiting
            with pytest.raises(NotFound):
                host.agent.input(1)
            await host.agent.ping()  # the session goes on

    run(test)


def test_both_outputs_and_a_terminal() -> None:
    async def test() -> None:
        async with session() as host:
            await host.start("fail", "oops")
            out, err = host.collect(), host.collect(1, Stream.STDERR)
            assert (await out(), await err()) == (b"", b"oops\n")
            await host.start("fail", "oops", process=2, tty=True)
            assert await host.collect(2)() == b"oops\n"

    run(test)


def test_megabytes_through_both_streams_unchanged() -> None:
    data = os.urandom(5 << 20)

    async def test() -> bytes:
        async with session() as host:
            await host.start("cat", stdin=True)
            output, stdin = host.collect(), host.agent.input(1)
            await asyncio.gather(*(stdin.write(data[at : at + 99991]) for at in range(0, len(data), 99991)))
            await stdin.eof()
            return await output()

    assert run(test) == data


async def _flood(process: FakeProcess) -> int:
    for _ in range(1000):
        await process.write(b"x" * 4096)
    return 0


def test_a_slow_sink_stalls_its_stream_alone() -> None:
    async def test() -> None:
        async with session(FakeGuest({"flood": _flood})) as host:
            await host.start("flood")
            taken, gate = bytearray(), asyncio.Event()

            async def slow(data: bytes) -> None:
                taken.extend(data)
                await gate.wait()

            stream = host.agent.attach_output(1, Stream.STDOUT, 0, slow)
            await host.start("echo", "other", process=2)
            assert await host.collect(2)() == b"other\n"
            await host.agent.ping()
            # Nothing of the first is acknowledged, and no more than its window has come.
            output = host.guest.processes[1].outputs[Stream.STDOUT]
            assert output.acked == 0
            assert output.end == OUTPUT_WINDOW
            assert 0 < len(taken) <= OUTPUT_WINDOW
            gate.set()
            await stream.finished()
            assert len(taken) == 4096000
            assert stream.acknowledged == 4096000

    run(test)


def test_a_sink_that_fails_ends_its_stream() -> None:
    async def test() -> None:
        async with session() as host:
            await host.start("echo", "x")

            async def broken(data: bytes) -> None:
                raise OSError("disk")

            with pytest.raises(OSError, match="disk"):
                await host.agent.attach_output(1, Stream.STDOUT, 0, broken).finished()
            assert host.guest.processes[1].outputs[Stream.STDOUT].acked == 0
            await host.agent.ping()

    run(test)


async def _deaf(process: FakeProcess) -> int:
    await process.signals.get()
    return 0


async def _closes_input(process: FakeProcess) -> int:
    process.close_input()
    process.catches = frozenset({15})
    await process.signals.get()
    return 0


def test_input_waits_for_a_process_that_does_not_read() -> None:
    async def test() -> None:
        async with session(FakeGuest({"deaf": _deaf})) as host:
            await host.start("deaf", stdin=True)
            stdin = host.agent.input(1)
            writing = asyncio.ensure_future(stdin.write(bytes(1 << 20)))
            while host.guest.processes[1].input_received < INPUT_WINDOW:
                await host.agent.ping()
            await host.agent.ping()
            assert not writing.done()
            assert stdin.offset == host.guest.processes[1].input_received == INPUT_WINDOW
            await host.start("echo", "meanwhile", process=2)
            assert await host.collect(2)() == b"meanwhile\n"
            await host.agent.signal(1, 9)
            with pytest.raises(StreamClosed, match="exited"):
                await writing
            await stdin.eof()  # nothing to end any more

    run(test)


def test_input_that_the_process_closes() -> None:
    async def test() -> None:
        async with session(FakeGuest({"closes": _closes_input})) as host:
            await host.start("closes", stdin=True)
            stdin = host.agent.input(1)
            with pytest.raises(StreamClosed):
                for _ in range(100):
                    await stdin.write(bytes(100_000))
            await host.agent.signal(1, 15)
            assert await host.exit(1) == 0

    run(test)


def test_a_write_given_up_does_not_block_the_next() -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def late(process: FakeProcess) -> int:
            await gate.wait()
            while await process.read():
                pass
            return 0

        async with session(FakeGuest({"late": late})) as host:
            await host.start("late", stdin=True)
            stdin = host.agent.input(1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stdin.write(bytes(1 << 20))
            gate.set()
            await stdin.write(b"more")
            await stdin.eof()
            assert await host.exit(1) == 0
            assert stdin.offset == INPUT_WINDOW + 4

    run(test)


def test_attaching_is_checked() -> None:
    async def test() -> None:
        async with session() as host:
            await host.start("sleep")
            host.collect()
            for which in (Stream.STDOUT, Stream.STDIN):
                with pytest.raises(InvalidArgument):
                    host.collect(1, which)
            with pytest.raises(NotFound):
                host.collect(2)
            with pytest.raises(InvalidArgument, match="without standard input"):
                host.agent.input(1)
            with pytest.raises(InvalidArgument, match="started before"):
                host.agent.start_process(ProcessPlan("c", 1, ("true",), "/"))

    run(test)


def test_a_resumed_session_goes_on_where_the_first_was() -> None:
    async def test() -> None:
        guest = FakeGuest({"flood": _flood})
        async with connected(guest.serve) as pipe:
            first = Agent.open(*pipe, resumed=False, on_event=lambda event: None)
            await first.create_container(CONTAINER)
            await first.start_process(ProcessPlan("c", 1, ("flood",), "/"))
            await first.start_process(ProcessPlan("c", 2, ("cat",), "/", stdin=True))
            await first.start_process(ProcessPlan("c", 3, ("exit", "7"), "/"))
            await first.input(2).write(b"one ")
            logged, some = bytearray(), asyncio.Event()

            async def sink(data: bytes) -> None:
                logged.extend(data)
                if len(logged) > 300_000:
                    some.set()

            stream = first.attach_output(1, Stream.STDOUT, 0, sink)
            await some.wait()
            first.close()
            with pytest.raises(AgentError, match="was closed"):
                await stream.finished()
        async with session(guest, resumed=True) as host:
            welcome = await host.agent.welcome(5)
            states = {state.process: state for state in welcome.processes}
            assert welcome.containers == ("c",)
            assert states[3].exited
            assert exit_status(states[3].wait_status) == 7
            rest = host.agent.attach_output(1, Stream.STDOUT, len(logged), sink)
            await host.agent.input(2).write(b"two")
            await host.agent.input(2).eof()
            assert await host.collect(2)() == b"one two"
            await rest.finished()
            assert logged == b"x" * 4096000

    run(test)


def test_the_end_of_the_pipe_fails_everything_and_keeps_what_came() -> None:
    async def test() -> None:
        guest = FakeGuest()
        async with connected(guest.serve) as pipe:
            agent = Agent.open(*pipe, resumed=False, on_event=lambda event: None)
            await agent.create_container(CONTAINER)
            await agent.start_process(ProcessPlan("c", 1, ("cat",), "/", stdin=True))
            got, gate = bytearray(), asyncio.Event()

            async def sink(data: bytes) -> None:
                await gate.wait()
                got.extend(data)

            stream = agent.attach_output(1, Stream.STDOUT, 0, sink)
            await agent.input(1).write(b"last words")
            while guest.processes[1].outputs[Stream.STDOUT].sent != 10:
                await agent.ping()
            await agent.ping()  # its answer is behind the data
            waiting = agent.shutdown()
            agent.close(AgentError("hyperd stops"))
            assert str(await agent.closed()) == "hyperd stops"
            for failing in (waiting, agent.ping(), agent.input(1).write(b"x")):
                with pytest.raises(AgentError, match="hyperd stops"):
                    await failing
            with pytest.raises(AgentError):
                agent.stats()
            gate.set()
            with pytest.raises(AgentError, match="hyperd stops"):
                await stream.finished()
            assert got == b"last words"
            assert (await agent.welcome(1)).agent == "fake"
        await guest.stop()

    run(test)


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


def test_deadlines_name_the_operation() -> None:
    async def test() -> None:
        async with connected(_silent) as pipe:
            agent = Agent.open(*pipe, resumed=False, on_event=lambda event: None)
            with pytest.raises(AgentTimeout, match=r"container create \(c\).* 0.05 s"):
                await agent.create_container(CONTAINER, timeout_s=0.05)
            with pytest.raises(AgentTimeout, match="did not answer"):
                await agent.welcome(0.05)
            with pytest.raises(AgentTimeout, match="ping"):
                await agent.ping(timeout_s=0.05)
            assert isinstance(await agent.closed(), AgentTimeout)

    run(test)


def test_an_answer_that_comes_too_late_is_no_fault() -> None:
    async def test() -> None:
        async with session(FakeGuest(boot_s=0.1)) as host:
            with pytest.raises(AgentTimeout):
                await host.agent.configure(CONFIG, timeout_s=0.01)
            cancelled = host.agent.create_container(CONTAINER)
            cancelled.cancel()
            await host.agent.ping()
            assert list(host.guest.containers) == ["c"]

    run(test)
