"""Sessions cut at every byte, in both directions, on one pipe that keeps what was on its way.

As a virtio-serial port is when hyperd dies: the guest goes on reading where the host stopped writing, and what
the guest has written lies there for the next host.  The next session must find its way and go on with every
stream: no byte lost, none twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest

from fake_agent import FakeGuest
from fake_process import FakeProcess
from hypercontainer.agent.operations import (
    ContainerPlan,
    Disk,
    Event,
    ProcessExited,
    ProcessPlan,
    ProcessState,
)
from hypercontainer.agent.session import Agent
from hypercontainer.agent.streams import InputStream
from hypercontainer.agent.wire import PADDING, Stream, stream_id
from hypercontainer.engine.process.process import exit_status
from hypercontainer.errors import AgentError

CONTAINER = ContainerPlan("c", Disk("image", "erofs"))
FOREVER = 1 << 40
NUMBERS = 200_000


class Pipe:
    """The guest's end lives on; a host's end lives until its budget of bytes, either way, is used up."""

    def __init__(self, guest: FakeGuest) -> None:
        self._near, far = socket.socketpair()
        self._near.setblocking(False)
        self._guest = guest
        self._far = far
        self._on_the_way = b""  # from the guest, not yet delivered
        self.to_guest = self.to_host = 0  # bytes so far, of the present session

    async def __aenter__(self) -> Pipe:
        reader, writer = await asyncio.open_connection(sock=self._far)
        self._served = asyncio.create_task(self._guest.serve(reader, writer))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._near.close()
        await asyncio.gather(self._served, return_exceptions=True)
        await self._guest.stop()

    @contextlib.asynccontextmanager
    async def host(
        self, to_guest: int = FOREVER, to_host: int = FOREVER
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.to_guest = self.to_host = 0
        pair = await asyncio.open_connection(sock=theirs)
        pumps = asyncio.create_task(self._pump(ours, to_guest, to_host))
        try:
            yield pair
        finally:
            pumps.cancel()
            await asyncio.gather(pumps, return_exceptions=True)
            ours.close()
            pair[1].close()

    async def _pump(self, ours: socket.socket, to_guest: int, to_host: int) -> None:
        """Both ways; the one whose budget is used up ends both."""
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._down(ours, to_guest))
                pumps.create_task(self._up(ours, to_host))
        except* EOFError:
            ours.shutdown(socket.SHUT_RDWR)

    async def _down(self, ours: socket.socket, budget: int) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(ours, 65536):
            part = data[: budget - self.to_guest]
            await loop.sock_sendall(self._near, part)
            self.to_guest += len(part)
            if self.to_guest >= budget:
                raise EOFError

    async def _up(self, ours: socket.socket, budget: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data = self._on_the_way or await loop.sock_recv(self._near, 65536)
            part = data[: budget - self.to_host]
            self._on_the_way = data[len(part) :]
            with contextlib.suppress(OSError):
                await loop.sock_sendall(ours, part)
            self.to_host += len(part)
            if self.to_host >= budget:
                raise EOFError


class Host:
    """What the engine does with a container, in short: its log, its input, its exit status."""

    def __init__(self, args: tuple[str, ...], source: bytes) -> None:
        self.args = args
        self.source = source
        self.log = bytearray()
        self.status: int | None = None

    async def session(
        self, pair: tuple[asyncio.StreamReader, asyncio.StreamWriter], *, resumed: bool
    ) -> bool:
        """One session with the guest; whether everything is done."""
        agent = Agent.open(*pair, resumed=resumed, on_event=self._event)
        try:
            await self._drive(agent)
        except AgentError:
            return False
        finally:
            agent.close()
        return True

    async def _drive(self, agent: Agent) -> None:
        welcome = await agent.welcome(10)
        state = next((state for state in welcome.processes if state.process == 1), None)
        if "c" not in welcome.containers:
            await agent.create_container(CONTAINER)
        if state is None:
            started = agent.start_process(ProcessPlan("c", 1, self.args, "/", stdin=True))
        output = agent.attach_output(1, Stream.STDOUT, len(self.log), self._sink)
        feeding = asyncio.create_task(self._feed(agent.input(1), state))
        try:
            if state is None:
                await started
            await output.finished()
            if state is not None and state.exited:
                self.status = exit_status(state.wait_status)
            while self.status is None:
                await agent.ping()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            # What came before the cut still goes to the log: the next session asks for what is behind it.
            agent.close()
            with contextlib.suppress(AgentError):
                await output.finished()

    async def _feed(self, stdin: InputStream, state: ProcessState | None) -> None:
        consumed = 0
        if state is not None:
            ours = stream_id(1, Stream.STDIN)
            consumed = next((s.acked_bytes for s in state.streams if s.stream == ours), len(self.source))
        with contextlib.suppress(AgentError):
            await stdin.write(self.source[consumed:])
            await stdin.eof()

    async def _sink(self, data: bytes) -> None:
        self.log += data

    def _event(self, event: Event) -> None:
        if isinstance(event, ProcessExited):
            self.status = exit_status(event.wait_status)


async def _cut_once(source: bytes, *, to_guest: int = FOREVER, to_host: int = FOREVER) -> tuple[int, int]:
    """A session that is cut, then one that finishes; how many bytes the first had sent each way."""
    host = Host(("cat",), source)
    async with Pipe(FakeGuest()) as pipe:
        async with pipe.host(to_guest, to_host) as pair:
            done = await host.session(pair, resumed=False)
        sent = (pipe.to_guest, pipe.to_host)
        if not done:
            async with pipe.host() as pair:
                assert await host.session(pair, resumed=True)
    assert bytes(host.log) == source
    assert host.status == 0
    return sent


def test_cut_at_every_byte_on_the_way_to_the_guest() -> None:
    async def test() -> None:
        total, _ = await _cut_once(b"0123456789")
        assert total > 250
        for at in range(1, total + 1):
            async with asyncio.timeout(10):
                await _cut_once(b"0123456789", to_guest=at)

    asyncio.run(test())


def test_cut_at_every_byte_on_the_way_to_the_host() -> None:
    async def test() -> None:
        _, total = await _cut_once(b"0123456789")
        assert total > 250
        for at in range(1, total + 1):
            async with asyncio.timeout(10):
                await _cut_once(b"0123456789", to_host=at)

    asyncio.run(test())


async def _counter(process: FakeProcess) -> int:
    """Writes numbers as fast as they are taken, and ends with what it was told to."""
    for number in range(NUMBERS):
        await process.write(b"%d\n" % number)
    return 3


@pytest.mark.parametrize("seed", range(6))
def test_many_cuts_in_a_flood(seed: int) -> None:
    generator = random.Random(seed)
    expected = b"".join(b"%d\n" % number for number in range(NUMBERS))

    async def test() -> Host:
        host = Host(("counter",), b"")
        async with Pipe(FakeGuest({"counter": _counter})) as pipe:
            for attempt in range(1000):
                down = generator.choice([generator.randrange(1, 4000), FOREVER])
                up = generator.choice([generator.randrange(1, 600_000), generator.randrange(1, 2000)])
                down += PADDING if attempt else 0
                async with pipe.host(down, up) as pair:
                    if await host.session(pair, resumed=attempt > 0):
                        return host
        raise AssertionError("never done")

    host = asyncio.run(asyncio.wait_for(test(), 60))
    assert bytes(host.log) == expected
    assert host.status == 3
