"""The pipe to one guest: bytes in both directions, fairly and in bounded memory.

``Channel`` takes over the transport of a connected stream pair.  What comes in goes to ``on_frame``, a bounded
number of frames per turn of the event loop.  What goes out is chosen when the transport has room: messages in
the order they were sent, then credits (only the newest of each stream), then a frame of each input stream in
turn.  The first error, or the end of the pipe, closes it once and for all; ``on_closed`` hears why.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

from hypercontainer.agent.frames import FrameReader, Received
from hypercontainer.errors import AgentError, AgentProtocolError, GuestGone, Unavailable

# A turn of the loop for one guest: a few milliseconds at most, however small its frames are.
FRAMES_PER_TURN = 512
# Messages that a guest has not taken yet.
UNSENT_MAX_BYTES = 16 * 1024 * 1024
# Of a pipe that was lost: more than a socket's buffer holds.
LAST_READS_MAX = 64
# Written at once: fewer system calls for small frames.
WRITE_BYTES = 128 * 1024


class Source(Protocol):
    """A stream that has frames to send, when its turn comes."""

    def next_frame(self) -> bytes | None:
        """A frame, or None if there is nothing that may be sent now."""
        ...


class Channel(asyncio.BufferedProtocol):
    """See the module.  ``abort`` ends it; nothing is called after ``on_closed``."""

    def __init__(
        self,
        frames: FrameReader,
        on_frame: Callable[[Received], None],
        on_closed: Callable[[AgentError], None],
    ) -> None:
        self._frames = frames
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._messages: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._credits: dict[int, bytes] = {}
        self._sources: deque[Source] = deque()
        self._blocked = False
        self._flushing = False
        self._turn: asyncio.Handle | None = None
        self._reason: AgentError | None = None
        self._previous: asyncio.BaseProtocol | None = None
        self._heard_at = self._loop.time()
        self._excused = False

    def take_over(self, writer: asyncio.StreamWriter) -> None:
        """Read and write in place of ``writer``'s own protocol from now on.

        What the stream reader may hold already was sent before this session began, and is of no use.
        """
        # typing: the writer's transport is a WriteTransport; that of a socket reads too
        transport: asyncio.Transport = writer.transport  # type: ignore[assignment]
        self._transport = transport
        self._writer = writer  # one that nobody holds closes its transport
        self._previous = transport.get_protocol()
        transport.set_protocol(self)
        if transport.is_closing():
            self._loop.call_soon(self.connection_lost, None)
        else:
            transport.resume_reading()

    # -- the transport's side

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._frames.writable()

    def buffer_updated(self, nbytes: int) -> None:
        self._heard_at = self._loop.time()
        self._frames.advance(nbytes)
        self._read()

    def eof_received(self) -> None:
        self._end(GuestGone("the guest's channel has closed"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reason is None:
            self._hear_out()
        why = f": {exc}" if exc else ""
        self._end(GuestGone(f"the guest's channel has closed{why}"))
        if self._previous is not None:  # whoever waits for the writer to close
            self._previous.connection_lost(exc)
            self._previous = None

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self.flush()

    def _read(self) -> None:
        self._turn = None
        try:
            for _ in range(FRAMES_PER_TURN):
                if self._reason is not None:
                    return
                received = self._frames.next_frame()
                if received is None:
                    self._transport.resume_reading()
                    return
                self._on_frame(received)
        except AgentProtocolError as error:
            self._end(error)
            return
        except Exception as error:
            self._end(AgentError(f"a message of the guest could not be handled: {error!r}"))
            raise
        self._transport.pause_reading()
        self._turn = self._loop.call_soon(self._read)

    def _hear_out(self) -> None:
        """Take what the guest sent before it went: a failed write has ended the transport with that unread."""
        self._blocked = True
        end = self._transport.get_extra_info("socket") or self._transport.get_extra_info("pipe")
        try:
            for _ in range(LAST_READS_MAX):
                while self._reason is None and (received := self._frames.next_frame()) is not None:
                    self._on_frame(received)
                count = os.readv(end.fileno(), [self._frames.writable()])
                if not count or self._reason is not None:
                    return
                self._frames.advance(count)
        except OSError:
            return
        except AgentProtocolError as error:
            self._end(error)

    # -- our side

    @property
    def closed_because(self) -> AgentError | None:
        return self._reason

    def excuse(self, silence: bool) -> None:
        """Whether the guest stands still: then its silence means nothing."""
        self._excused = silence
        self._heard_at = self._loop.time()

    def stuck(self, for_s: float) -> bool:
        """Whether it has been silent in the middle of a frame for so long."""
        silent_s = self._loop.time() - self._heard_at
        return self._frames.in_frame and not self._excused and silent_s >= for_s

    def send(self, message: bytes) -> None:
        """Queue a message; Unavailable where too much waits already."""
        if self._unsent_bytes + len(message) > UNSENT_MAX_BYTES:
            raise Unavailable(f"the guest does not read: {self._unsent_bytes} bytes wait to be sent to it")
        self._messages.append(message)
        self._unsent_bytes += len(message)
        self.flush()

    def send_credit(self, stream: int, frame: bytes) -> None:
        self._credits[stream] = frame
        self.flush()

    def drop_credit(self, stream: int) -> None:
        self._credits.pop(stream, None)

    def send_from(self, source: Source) -> None:
        """Ask ``source`` for frames until it has none."""
        self._sources.append(source)
        self.flush()

    def flush(self) -> None:
        if self._flushing:
            return
        self._flushing = True
        try:
            while not self._blocked and self._reason is None and (batch := self._batch()):
                self._transport.write(b"".join(batch) if len(batch) > 1 else batch[0])
        finally:
            self._flushing = False

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while size < WRITE_BYTES and (part := self._next()):
            batch.append(part)
            size += len(part)
        return batch

    def _next(self) -> bytes | None:
        if self._messages:
            message = self._messages.popleft()
            self._unsent_bytes -= len(message)
            return message
        if self._credits:
            return self._credits.pop(next(iter(self._credits)))
        while self._sources:
            source = self._sources.popleft()
            frame = source.next_frame()
            if frame is not None:
                self._sources.append(source)
                return frame
        return None

    def abort(self, reason: AgentError) -> None:
        self._end(reason)

    def _end(self, reason: AgentError) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        if self._turn is not None:
            self._turn.cancel()
        self._messages.clear()
        self._credits.clear()
        self._sources.clear()
        self._transport.abort()
        self._on_closed(reason)
