"""A process in a guest, as the engine holds it: its output to log and clients, its input, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from hypercontainer.agent.operations import ProcessExited
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import Stream
from hypercontainer.contract.answers import Exit
from hypercontainer.engine.pipes import Bytes
from hypercontainer.engine.process.streams import Pipe
from hypercontainer.errors import AgentError, Conflict, HyperError
from hypercontainer.linux import signals

log = logging.getLogger(__name__)


class Process:
    """One process, from before its start until its end and its last byte of output.

    ``record`` gets every byte before it counts as delivered; a client that does not read holds up its channel.
    ``ended`` is the future of its end; it fails with an AgentError when the guest is lost.  ``going`` is not set while
    its guest stands still and answers nobody.
    """

    def __init__(
        self,
        agent: Agent,
        number: int,
        *,
        tty: bool,
        stdin: bool,
        close_stdin: bool,
        going: asyncio.Event,
        record: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.agent = agent
        self.number = number
        self.tty = tty
        self.close_stdin = close_stdin
        self.ended: asyncio.Future[ProcessExited] = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(
            lambda future: future.exception()
        )  # looked at: a lost guest is told elsewhere
        self._going = going
        self._record = record
        self._stdin = agent.input(number) if stdin else None
        self._attachments: list[ProcessAttachment] = []
        self._drained: asyncio.Task[None] | None = None
        self._put_off: dict[str, Callable[[], Awaitable[None]]] = {}
        self._late: asyncio.Task[None] | None = None

    @property
    def channels(self) -> tuple[Stream, ...]:
        return (Stream.STDOUT,) if self.tty else (Stream.STDOUT, Stream.STDERR)

    def open_output(self, offsets: Mapping[int, int]) -> None:
        """Lets output flow, from ``offsets`` on (by channel; 0 where it is not named)."""
        streams = [
            self.agent.attach_output(self.number, channel, offsets.get(channel, 0), self._sink(channel))
            for channel in self.channels
        ]
        self._drained = asyncio.create_task(self._drain([stream.finished() for stream in streams]))

    def attach(self, attachment: ProcessAttachment) -> None:
        """Gives a client its hold: it has all output from now on."""
        self._attachments.append(attachment)
        attachment.take(self)
        if self._drained is not None and self._drained.done():
            attachment.end_output()

    def detach(self, attachment: ProcessAttachment) -> None:
        if attachment in self._attachments:
            self._attachments.remove(attachment)

    async def finished(self) -> ProcessExited:
        """Its end, after its last byte was delivered."""
        ended = await asyncio.shield(self.ended)
        if self._drained is not None:
            await asyncio.shield(self._drained)
        return ended

    def lose(self, error: AgentError) -> None:
        """The guest is gone, and its output with it."""
        if not self.ended.done():
            self.ended.set_exception(error)
        if self._late is not None:
            self._late.cancel()
        self._end_output()

    async def write(self, data: Bytes) -> None:
        if self._stdin is None:
            raise Conflict(
                "the process was started without input", hint="it has to be created with its input open"
            )
        await self._stdin.write(data)

    async def end_input(self) -> None:
        if self._stdin is not None:
            await self._stdin.eof()

    async def resize(self, rows: int, columns: int) -> None:
        await self._when_going("resize", lambda: self.agent.resize(self.number, rows, columns))

    async def signal(self, name: str) -> None:
        number = signals.parse(name)
        await self._when_going(f"signal {number}", lambda: self.agent.signal(self.number, number))

    async def _when_going(self, what: str, act: Callable[[], Awaitable[None]]) -> None:
        """At once; while its guest stands still, later, the newest of each kind: nobody waits for that."""
        if self._going.is_set():
            await act()
            return
        self._put_off[what] = act
        if self._late is None:
            self._late = asyncio.create_task(self._catch_up())

    async def _catch_up(self) -> None:
        await self._going.wait()
        put_off, self._put_off, self._late = self._put_off, {}, None
        for act in put_off.values():
            with contextlib.suppress(HyperError):  # it has ended meanwhile
                await act()

    def _sink(self, channel: int) -> Callable[[bytes], Awaitable[None]]:
        async def sink(data: bytes) -> None:
            if self._record is not None:
                self._record(channel, data)
            for attachment in tuple(self._attachments):
                await attachment.deliver(channel, data)

        return sink

    async def _drain(self, ends: list[Awaitable[None]]) -> None:
        await asyncio.gather(*ends, return_exceptions=True)
        self._end_output()

    def _end_output(self) -> None:
        for attachment in self._attachments:
            attachment.end_output()


class ProcessAttachment:
    """A client's hold on a process (``engine.interface.Attachment``), which may be made before the process is.

    ``outcome`` is what ``exit`` waits for: the process's end, or more that its owner does after it.  ``earlier`` gives
    for a channel what was written before, which comes first; every byte after it is delivered.  ``on_signal``: the
    client is about to send this one.
    """

    def __init__(
        self,
        outcome: Awaitable[Exit],
        *,
        tty: bool,
        stdin: bool,
        earlier: Callable[[int], AsyncGenerator[bytes, None]] | None = None,
        on_signal: Callable[[int], None] | None = None,
    ) -> None:
        self.tty = tty
        self._pipes: dict[int, Pipe] = {channel: Pipe() for channel in (Stream.STDOUT, Stream.STDERR)}
        self._replays: dict[int, asyncio.Task[None]] = {}
        if earlier is not None:
            for channel, pipe in self._pipes.items():
                self._replays[channel] = asyncio.create_task(_replay(earlier(channel), pipe))
        self._outcome = outcome
        self._on_signal = on_signal
        self._stdin = stdin
        self._process: Process | None = None
        self._started = asyncio.Event()
        self.left = False
        self._size: tuple[int, int] | None = None

    def take(self, process: Process) -> None:
        """The process is there.  By ``Process.attach``."""
        self._process = process
        self._started.set()
        if self.left:
            process.detach(self)
        elif self._size is not None:
            process.agent.resize(process.number, *self._size)

    async def deliver(self, channel: int, data: bytes) -> None:
        """The process has written it.  Waits while the client has no room."""
        if channel in self._replays:
            await asyncio.wait([self._replays[channel]])
        await self._pipes[channel].put(data)

    async def read(self, channel: int) -> bytes:
        return await self._pipes[channel].get()

    async def write(self, data: Bytes) -> None:
        if not self._stdin:
            raise Conflict("this client is not attached to the process's input", hint="attach with input")
        await (await self._running()).write(data)

    async def end_input(self) -> None:
        if self._stdin:
            process = await self._running()
            if process.close_stdin:
                await process.end_input()

    async def resize(self, rows: int, columns: int) -> None:
        self._size = rows, columns
        if self._process is not None:
            await self._process.resize(rows, columns)

    async def signal(self, name: str) -> None:
        process = await self._running()
        if self._on_signal is not None:
            self._on_signal(signals.parse(name))
        await process.signal(name)

    async def exit(self) -> Exit:
        return await asyncio.shield(asyncio.ensure_future(self._outcome))

    async def close(self) -> None:
        self.left = True
        for pipe in self._pipes.values():
            pipe.leave()
        for replay in self._replays.values():
            replay.cancel()
        if self._process is not None:
            self._process.detach(self)
            if not self.tty:
                await self.end_input()

    def end_output(self) -> None:
        for channel, pipe in self._pipes.items():
            if channel in self._replays:
                self._replays[channel].add_done_callback(lambda _, pipe=pipe: pipe.end())  # type: ignore[misc]
            else:
                pipe.end()

    async def _running(self) -> Process:
        await self._started.wait()
        assert self._process is not None
        return self._process


async def _replay(earlier: AsyncGenerator[bytes, None], pipe: Pipe) -> None:
    try:
        async with contextlib.aclosing(earlier):
            async for data in earlier:
                await pipe.put(data)
    except OSError as error:  # what follows is not to be lost with it
        log.warning("what was written before cannot be read: %s", error.strerror)


def outcome(ended: ProcessExited) -> Exit:
    return Exit(exit_status(ended.wait_status))


def exit_status(wait_status: int) -> int:
    """0-255 as a shell shows it: 128 + the signal's number where a signal ended the process."""
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)
