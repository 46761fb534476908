"""A process whose streams are carried by frames (docs/api.md, "Frames").

Memory is bounded by the frames' credit: what nobody reads holds up the process, at WINDOW_BYTES a channel.
"""

# ruff: noqa: A002 - names as in `subprocess` and the API

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

from hypercontainer.client.api import encode
from hypercontainer.client.http import RECEIVE_BYTES, BrokenAnswer, broken_frame
from hypercontainer.client.stream import ACKNOWLEDGE_BYTES, ConnectionLost
from hypercontainer.contract.answers import Created, Timings
from hypercontainer.contract.frames import (
    CONTROL,
    CREDIT,
    MAX_PAYLOAD_BYTES,
    STDERR,
    STDIN,
    STDOUT,
    WINDOW_BYTES,
    FrameReader,
    credit,
    frame,
    header,
    read_credit,
)
from hypercontainer.contract.images import LayerProgress
from hypercontainer.errors import HyperError, StreamClosed
from hypercontainer.sdk.failures import TooMuchOutput, wire_error
from hypercontainer.sdk.results import Output, RunResult, channel_name
from hypercontainer.sdk.transport import OnProgress, Upgraded, converted, decoded

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
END_S = 10.0  # for a process that is killed


class AsyncStream:
    """A running program and its standard streams; iterated over, it gives its output as it comes.

    Used as a context manager.  What still runs when the block is left is killed where it was started for the block
    (``exec_stream``) and left alone where it was there before (``attach``).

    Example::

        async with box.exec_stream(["tr", "a-z", "A-Z"], stdin=True) as stream:
            await stream.write(b"hello")
            await stream.end_input()
            async for channel, data in stream:
                assert (channel, data) == ("stdout", b"HELLO")
            assert stream.exit_status == 0
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Upgraded]],
        what: str,
        *,
        kill_at_exit: bool,
        on_progress: OnProgress | None = None,
    ) -> None:
        self._connect = connect
        self._what = what
        self._kill_at_exit = kill_at_exit
        self._on_progress = on_progress
        self._connection: Upgraded | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._frames = FrameReader(broken_frame)
        self._outputs: deque[Output] = deque()
        self._held = {STDOUT: 0, STDERR: 0}
        self._unacknowledged = {STDOUT: 0, STDERR: 0}
        self._room = WINDOW_BYTES
        self._takes_input = True
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._exit: int | None = None
        self._over = False
        self._error = ""
        self._timings: Timings | None = None
        self._created: Created | None = None

    @property
    def exit_status(self) -> int | None:
        """None while it runs, and where that is not known yet."""
        return self._exit

    @property
    def error(self) -> str:
        """Why it ended as it did, where hyperd has said so."""
        return self._error

    async def __aenter__(self) -> Self:
        self._connection = await self._connect()
        self._receiving = asyncio.create_task(self._receive(self._connection))
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self._kill_at_exit and not self._over:
                with contextlib.suppress(HyperError, OSError, TimeoutError):
                    async with asyncio.timeout(END_S):
                        await self.signal("KILL")
                        await self.wait()
        finally:
            await self._close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        while not self._outputs:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            await self._news()
        output = self._outputs.popleft()
        self._done_with(STDOUT if output.channel == "stdout" else STDERR, len(output.data))
        return output

    async def write(self, data: bytes) -> None:
        """Sends ``data`` to standard input; waits while the process has no room.  StreamClosed where it takes no more.

        Example::

            async with box.exec_stream(["cat"], stdin=True) as stream:
                await stream.write(b"to the other side")
        """
        rest = memoryview(data)
        while rest:
            while not self._room and self._takes_input:
                await self._news()
            if not self._takes_input:
                raise StreamClosed(f"{self._what} takes no more input")
            piece = rest[: min(self._room, MAX_PAYLOAD_BYTES)]
            self._room -= len(piece)
            await self._send(header(STDIN, len(piece)) + piece)
            rest = rest[len(piece) :]

    async def end_input(self) -> None:
        """Its standard input ends here.  May be called twice.

        Example::

            async with box.exec_stream(["wc", "-c"], stdin=True) as stream:
                await stream.write(b"12345")
                await stream.end_input()
                assert await stream.wait() == 0
        """
        if self._takes_input:
            self._takes_input = False
            await self._send(frame(STDIN, b""))

    async def signal(self, name: str) -> None:
        """Sends it a signal, by name.

        Example::

            async with box.exec_stream(["sleep", "1000"]) as stream:
                await stream.signal("TERM")
                assert await stream.wait() == 143
        """
        await self._send(frame(CONTROL, encode({"signal": name})))

    async def resize(self, rows: int, columns: int) -> None:
        """Tells it the size of its terminal, where it has one (``tty=True``).

        Example::

            async with box.exec_stream(["cat"], stdin=True, tty=True) as stream:
                await stream.resize(24, 80)
        """
        await self._send(frame(CONTROL, encode({"resize": [rows, columns]})))

    async def wait(self) -> int:
        """Its exit status, once it has ended.  What it still writes is thrown away.

        Example::

            async with box.exec_stream(["sh", "-c", "exit 3"]) as stream:
                assert await stream.wait() == 3
        """
        async for _ in self:
            pass
        if self._exit is None:
            raise ConnectionLost(f"{self._what}: hyperd let go of it before it ended")
        return self._exit

    async def communicate(
        self,
        input: bytes | None = None,
        *,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> RunResult:
        """Sends all of ``input`` and its end, if there is any; reads all of the output, waits for the end.

        Example::

            async with box.exec_stream(["sort"], stdin=True) as stream:
                assert (await stream.communicate(b"b\\na\\n")).stdout == b"a\\nb\\n"
        """
        feeding = asyncio.create_task(self._feed(input))
        outputs = {"stdout": bytearray(), "stderr": bytearray()}
        try:
            async for channel, data in self:
                outputs[channel] += data
                if len(outputs["stdout"]) + len(outputs["stderr"]) > max_output_bytes:
                    raise TooMuchOutput(self._what, max_output_bytes, *map(bytes, outputs.values()))
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        return RunResult(
            exit_status=await self.wait(),
            stdout=bytes(outputs["stdout"]),
            stderr=bytes(outputs["stderr"]),
            error=self._error,
            timings=self._timings,
        )

    async def _feed(self, data: bytes | None) -> None:
        if data is None:
            return
        with contextlib.suppress(StreamClosed):
            await self.write(data)
            await self.end_input()

    async def _news(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _send(self, data: bytes) -> None:
        if self._connection is None:
            raise StreamClosed(f"{self._what}: its streams are open within `with` only")
        if self._over:
            return
        self._connection.writer.write(data)
        with contextlib.suppress(ConnectionError):  # what hyperd said last can still be read
            await self._connection.writer.drain()

    def _done_with(self, channel: int, count: int) -> None:
        self._held[channel] -= count
        self._unacknowledged[channel] += count
        if self._unacknowledged[channel] >= ACKNOWLEDGE_BYTES and self._connection is not None:
            self._connection.writer.write(credit(channel, self._unacknowledged[channel]))
            self._unacknowledged[channel] = 0

    async def _receive(self, connection: Upgraded) -> None:
        try:
            self._take(connection.first)
            while not self._over:
                self._changed.set()
                data = await connection.reader.read(RECEIVE_BYTES)
                if not data:
                    raise ConnectionLost(f"{self._what}: lost the connection to hyperd")
                self._take(data)
        except ConnectionError:
            self._failure = ConnectionLost(f"{self._what}: lost the connection to hyperd")
        except Exception as error:
            self._failure = error
        finally:
            self._over = True
            self._takes_input = False
            self._changed.set()

    def _take(self, data: bytes) -> None:
        for channel, payload in self._frames.feed(data):
            if channel in (STDOUT, STDERR):
                self._output(channel, bytes(payload))
            elif channel == CREDIT:
                of, count = read_credit(payload, broken_frame)
                self._room += count if of == STDIN else 0
            elif channel == CONTROL:
                self._controlled(decoded(bytes(payload), dict[str, Any]))
            else:
                self._takes_input = False
            if self._over:
                return

    def _output(self, channel: int, data: bytes) -> None:
        self._held[channel] += len(data)
        if self._held[channel] > WINDOW_BYTES:
            raise BrokenAnswer(f"hyperd sent more of channel {channel} than it may")
        if data:
            self._outputs.append(Output(channel_name(channel), data))

    def _controlled(self, message: dict[str, Any]) -> None:
        for name, value in message.items():
            if name == "exit":
                self._exit, self._over = converted(value, int), True
            elif name == "detached":
                self._over = True
            elif name == "error":
                raise wire_error(value)
            elif name == "failed":
                self._error = converted(value, str)
            elif name == "timings":
                self._timings = converted(value, Timings)
            elif name == "created":
                self._created = converted(value, Created)
            elif name == "progress" and self._on_progress is not None:
                self._on_progress(converted(value, LayerProgress))

    async def _close(self) -> None:
        if self._connection is not None:
            self._connection.writer.transport.abort()
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.gather(self._receiving, return_exceptions=True)
