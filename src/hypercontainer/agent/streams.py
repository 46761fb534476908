"""A process's standard streams on the host's side: output with acknowledgements, input with credit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hypercontainer.agent.channel import Channel
from hypercontainer.agent.frames import frame
from hypercontainer.agent.wire import CREDIT, FRAME_MAX, OUTPUT_WINDOW, Frame
from hypercontainer.errors import AgentError, AgentProtocolError, StreamClosed

Sink = Callable[[bytes], Awaitable[None]]
# Parts of the window's bytes kept as objects of their own: one-byte frames shall not cost fifty bytes each.
PARTS_MAX = 64


class OutputStream:
    """Bytes of a process, to a sink, in order; what the sink has taken is acknowledged.

    Holds at most OUTPUT_WINDOW bytes that the sink has not taken; the guest may not send more, and a sink that
    takes its time stalls this stream alone.  An error of the sink ends the stream, unacknowledged.
    """

    def __init__(self, channel: Channel, session: int, stream: int, offset: int, sink: Sink) -> None:
        self._channel = channel
        self._session = session
        self._stream = stream
        self._sink = sink
        self._parts: list[bytes] = []
        self._received = offset
        self._limit = 0
        self._eof = False
        self._reason: Exception | None = None
        self._wake = asyncio.Event()
        self.acknowledged = offset
        self._task = asyncio.create_task(self._run(), name=f"output stream {stream}")
        self._task.add_done_callback(_retrieve)
        self._send_credit()

    async def finished(self) -> None:
        """Returns when the sink has taken every byte up to the end; raises what kept it from that."""
        await asyncio.shield(self._task)

    def cancel(self) -> None:
        """Stop at once; what the sink has not taken stays with the guest."""
        self._task.cancel()

    def close(self, reason: Exception) -> None:
        """No more will come: the sink gets what is here, then ``finished`` raises ``reason``."""
        if self._reason is None:
            self._reason = reason
            self._wake.set()

    def data(self, payload: bytes) -> None:
        if self._eof or self._received + len(payload) > self._limit:
            raise AgentProtocolError(f"stream {self._stream}: data beyond what was granted")
        self._received += len(payload)
        self._parts.append(payload)
        if len(self._parts) >= PARTS_MAX:
            self._parts = [b"".join(self._parts)]
        self._wake.set()

    def end(self) -> None:
        if self._eof:
            raise AgentProtocolError(f"stream {self._stream}: a second end")
        self._eof = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._parts:
                taken, self._parts = self._parts, []
                data = b"".join(taken)
                await self._sink(data)
                self.acknowledged += len(data)
                self._send_credit()
            if self._eof:
                return
            if self._reason is not None:
                raise self._reason

    def _send_credit(self) -> None:
        self._limit = self.acknowledged + OUTPUT_WINDOW
        payload = CREDIT.pack(self.acknowledged, self._limit)
        self._channel.send_credit(self._stream, frame(self._session, Frame.CREDIT, self._stream, payload))


def _retrieve(task: asyncio.Task[None]) -> None:
    """Whether anybody asks a stream how it ended is the owner's affair."""
    if not task.cancelled():
        task.exception()


class InputStream:
    """Bytes to a process, as fast as it takes them.

    One write is under way at a time, further ones wait; it returns when its bytes have been sent.  A write that
    is cancelled has sent some beginning of its bytes.
    """

    def __init__(self, channel: Channel, session: int, stream: int) -> None:
        self._channel = channel
        self._session = session
        self._stream = stream
        self._lock = asyncio.Lock()
        self._data = memoryview(b"")
        self._ending = False
        self._queued = False  # the channel will ask for frames
        self._done: asyncio.Future[None] | None = None
        self._closed: AgentError | None = None
        self._limit = -1  # until the first credit
        self.offset = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """StreamClosed where the process has closed its input; another AgentError where the guest is gone."""
        async with self._lock:
            await self._send(memoryview(data).cast("B"), ending=False)

    async def eof(self) -> None:
        """No more input.  Nothing happens where the process has closed it already."""
        async with self._lock:
            if not isinstance(self._closed, StreamClosed):
                await self._send(memoryview(b""), ending=True)
                self.close(StreamClosed("the process's input has ended"))

    async def _send(self, data: memoryview, *, ending: bool) -> None:
        if self._closed is not None:
            raise self._closed
        if not data and not ending:
            return
        self._data, self._ending = data, ending
        self._done = asyncio.get_running_loop().create_future()
        try:
            self._offer()
            await self._done
        finally:
            self._data, self._ending, self._done = memoryview(b""), False, None

    def _ready(self) -> bool:
        return self._limit >= 0 and (self._limit > self.offset if self._data else self._ending)

    def _offer(self) -> None:
        if self._ready() and not self._queued:
            self._queued = True
            self._channel.send_from(self)

    def next_frame(self) -> bytes | None:
        """For the channel: the next frame, within the credit."""
        if not self._ready():
            self._queued = False
            return None
        if self._data:
            kind, part = Frame.DATA, self._data[: min(FRAME_MAX, self._limit - self.offset)]
            self._data = self._data[len(part) :]
            self.offset += len(part)
        else:
            kind, part, self._ending = Frame.EOF, self._data, False
        built = frame(self._session, kind, self._stream, part)
        if not self._data and not self._ending and self._done is not None and not self._done.done():
            self._done.set_result(None)
        return built

    def credit(self, acknowledged: int, limit: int) -> None:
        if self._limit < 0:
            self.offset = acknowledged
        if limit < max(self._limit, acknowledged) or acknowledged > self.offset:
            raise AgentProtocolError(f"stream {self._stream}: credit from {acknowledged} to {limit}")
        self._limit = limit
        self._offer()

    def close(self, reason: AgentError) -> None:
        """Fail what is being written, and all further writes, with ``reason``."""
        if self._closed is None:
            self._closed = reason
            self._data, self._ending = memoryview(b""), False
            if self._done is not None and not self._done.done():
                self._done.set_exception(reason)
