"""HTTP/2 connections that are passed on stream by stream: what one peer sends is taken when the other has taken it.

A ``Link`` is a connection to one peer.  What comes on a stream of it goes to that stream's ``Sink``; an ``Outward`` is
a stream that something is sent on, and is the sink of the stream that it is passed on from.  What a peer may have
sent and nobody has taken is bounded by the windows that it is given, for a stream and for the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error, StreamClosedError
from h2.settings import SettingCodes, Settings

from hypercontainer.errors import HyperError, InvalidArgument

Fields = Sequence[tuple[bytes, bytes]]
Taken = Callable[[], None]

STREAMS_MAX = 128
STREAM_WINDOW_BYTES = 1 << 18
WINDOW_BYTES = 1 << 21
FIRST_WINDOW_BYTES = 65535  # of a connection, by the protocol
HEADERS_MAX_BYTES = 1 << 16
FRAME_MAX_BYTES, FRAME_HEAD_BYTES = 1 << 14, 9
PREAMBLE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LAST_WORDS_S = 2.0  # for what is still to be written when one of the peers has gone


class Broken(InvalidArgument):
    """A peer does not speak HTTP/2 as it is."""


class Wire(Protocol):
    """What a connection runs over."""

    async def read(self) -> bytes:
        """b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more."""


class Sink(Protocol):
    """Where what comes on a stream goes."""

    def headers(self, fields: Fields, *, ended: bool) -> None: ...
    def data(self, data: bytes, taken: Taken) -> None:
        """``taken`` is called once, when the peer may send as much again."""

    def end(self) -> None: ...
    def reset(self, code: int) -> None: ...


class _Lengths:
    """Looks at the lengths of frames as they come: h2 does when it has all of one, which may be 16 MiB."""

    def __init__(self, begin: int) -> None:
        self._left = begin
        self._head = b""

    def see(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
            else:
                step = min(FRAME_HEAD_BYTES - len(self._head), len(data) - at)
                self._head += data[at : at + step]
                if len(self._head) == FRAME_HEAD_BYTES:
                    self._left, self._head = int.from_bytes(self._head[:3], "big"), b""
                    if self._left > FRAME_MAX_BYTES:
                        raise Broken(f"HTTP/2: a frame of {self._left} bytes")
            at += step


class Link:
    """``caller``: it opens the streams, and we answer; ``opened`` then gives each its sink, or
    None where it has refused it."""

    def __init__(
        self, wire: Wire, *, caller: bool, opened: Callable[[int, Fields], Sink | None] | None = None
    ) -> None:
        self._wire, self._opened = wire, opened
        self.h2 = H2Connection(H2Configuration(client_side=not caller, header_encoding=None))
        self.h2.local_settings = Settings(
            client=not caller,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADERS_MAX_BYTES,
            },
        )
        self._lengths = _Lengths(len(PREAMBLE) if caller else 0)
        self._sinks: dict[int, Sink] = {}
        self._half: set[int] = set()  # streams of which one side has ended
        self.waiting: dict[int, Outward] = {}  # for its peer to take more
        self._news, self._settled = asyncio.Event(), asyncio.Event()
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW_BYTES - FIRST_WINDOW_BYTES)
        self.wake()

    # Streams

    def open(self, fields: Fields, sink: Sink) -> Outward:
        """A call of ours.  Broken where there can be none."""
        try:
            stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(stream, list(fields))
        except H2Error as error:
            raise Broken(f"HTTP/2: {error or type(error).__name__}") from error
        self._sinks[stream] = sink
        self.wake()
        return Outward(self, stream)

    # Its work

    def wake(self) -> None:
        """There may be something to write."""
        self._settled.clear()
        self._news.set()

    async def settled(self) -> None:
        """Waits until all that was to be written is."""
        await self._settled.wait()

    async def write(self) -> None:
        """Until it is cancelled, or its peer has gone."""
        while True:
            await self._news.wait()
            self._news.clear()
            while data := self.h2.data_to_send():
                try:
                    await self._wire.write(data)
                except (OSError, HyperError):
                    return
            if not self._news.is_set():
                self._settled.set()

    async def read(self, pause: Callable[[], Awaitable[None]]) -> None:
        """To its end; Broken.  ``pause`` is awaited after each piece."""
        try:
            while data := await self._wire.read():
                self._lengths.see(data)
                for event in self.h2.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        return
                    self._take(event)
                self.wake()
                await pause()
        except H2Error as error:
            self.wake()  # it is told so
            raise Broken(f"HTTP/2: {str(error) or type(error).__name__}") from error
        except OSError:
            return

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            assert self._opened is not None
            if sink := self._opened(event.stream_id, event.headers):
                self._sinks[event.stream_id] = sink
        elif isinstance(event, ResponseReceived | TrailersReceived):
            if sink := self._sinks.get(event.stream_id):
                sink.headers(event.headers, ended=event.stream_ended is not None)
        elif isinstance(event, DataReceived):
            self._data(event)
        elif isinstance(event, StreamEnded):
            if sink := self._sinks.get(event.stream_id):
                sink.end()
            self.half_closed(event.stream_id)
        elif isinstance(event, StreamReset):
            sink = self._sinks.get(event.stream_id)
            self.forget(event.stream_id)
            if sink:
                sink.reset(int(event.error_code or 0))
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            for outward in list(self.waiting.values()):
                outward.pump()

    def _data(self, event: DataReceived) -> None:
        def taken() -> None:
            with contextlib.suppress(H2Error):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.wake()

        if sink := self._sinks.get(event.stream_id):
            sink.data(event.data, taken)
        else:
            taken()

    def half_closed(self, stream: int) -> None:
        """One side sends no more on it: at the second time nothing more is to be known of it."""
        if stream in self._half:
            self.forget(stream)
        elif stream in self._sinks:
            self._half.add(stream)

    def forget(self, stream: int) -> None:
        if outward := self.waiting.pop(stream, None):
            outward.drop()
        self._sinks.pop(stream, None)
        self._half.discard(stream)


@dataclass(frozen=True, slots=True)
class _Piece:
    data: memoryview
    taken: Taken


@dataclass(frozen=True, slots=True)
class _Head:
    fields: Fields
    ended: bool


class Outward:
    """What is sent on a stream, as fast as its peer takes it."""

    def __init__(self, link: Link, stream: int) -> None:
        self._link, self._stream = link, stream
        self._items: deque[_Piece | _Head | None] = deque()  # None: no more

    def headers(self, fields: Fields, *, ended: bool) -> None:
        self._put(_Head(fields, ended))

    def data(self, data: bytes, taken: Taken) -> None:
        self._put(_Piece(memoryview(data), taken))

    def end(self) -> None:
        self._put(None)

    def reset(self, code: int) -> None:
        self.drop()
        with contextlib.suppress(H2Error):
            self._link.h2.reset_stream(self._stream, code)
        self._link.forget(self._stream)
        self._link.wake()

    def drop(self) -> None:
        """What was to be sent is not wanted."""
        items, self._items = self._items, deque()
        for item in items:
            if isinstance(item, _Piece):
                item.taken()

    def _put(self, item: _Piece | _Head | None) -> None:
        self._items.append(item)
        if len(self._items) == 1:
            self.pump()

    def pump(self) -> None:
        try:
            while self._items and self._sent(self._items[0]):
                self._items.popleft()
        except StreamClosedError:
            self.drop()
        except H2Error:  # a field that HTTP/2 does not have, or a stream that is in no state for it
            self.reset(ErrorCodes.INTERNAL_ERROR)
        if self._items:
            self._link.waiting[self._stream] = self
        else:
            self._link.waiting.pop(self._stream, None)
        self._link.wake()

    def _sent(self, item: _Piece | _Head | None) -> bool:
        """False where its peer takes no more now; then what is left of it is the first of those that wait."""
        h2 = self._link.h2
        if item is None:
            h2.end_stream(self._stream)
            self._link.half_closed(self._stream)
        elif isinstance(item, _Head):
            h2.send_headers(self._stream, list(item.fields), end_stream=item.ended)
            if item.ended:
                self._link.half_closed(self._stream)
        else:
            rest = item.data
            while rest:
                room = min(h2.local_flow_control_window(self._stream), h2.max_outbound_frame_size)
                if room <= 0:
                    self._items[0] = _Piece(rest, item.taken)
                    return False
                h2.send_data(self._stream, rest[:room])
                rest = rest[room:]
            item.taken()
        return True


class Carrier:
    """Links whose peers are one another's: when one has gone, all is over."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    def add(self, link: Link) -> None:
        self._links.append(link)
        for work in (link.read(self._pause), link.write()):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(lambda _: self._over.set())

    async def run(self) -> None:
        """Broken, where a peer breaks the protocol."""
        try:
            await self._over.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await self._pause()
            for task in self._tasks:
                if task.done():
                    task.result()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self) -> None:
        for link in self._links:
            await link.settled()
