"""A unix socket before another: bytes pass both ways as they are, half-closes too, and what of it is HTTP/1.1 is read
on the way.  After an upgrade, and after an answer that ends with its connection, nothing more is read.

In a thread of its own, whose loop holds all connections.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import select
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import h11

BODY_BYTES = 8 << 20  # of an answer that are kept
PIECE_BYTES = 1 << 16
FLUSH_S = 5.0


@dataclass
class Exchange:
    """A request's head and its answer.  The names of ``headers`` are in small letters.  ``cut``: it was not whole when
    one of the two left, or larger than is kept."""

    method: str
    target: str
    asked: list[tuple[bytes, bytes]]
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    cut: bool = False


class Watcher(Protocol):
    def answered(self, exchange: Exchange) -> None: ...
    def broken(self, words: str) -> None:
        """What the server sent is no HTTP, or could not be looked at."""


class Tap:
    """What passes on one connection, read."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._waiting: collections.deque[Exchange] = collections.deque()
        self._requests: h11.Connection | None = h11.Connection(h11.SERVER)
        self._answers: h11.Connection | None = None
        self._left = b""  # of what the server sent, when nobody had asked yet
        self._paused = False  # the client wants to leave HTTP; the answer says whether it does
        self._wants_upgrade = False
        self._over = False

    def from_client(self, data: bytes) -> None:
        if self._requests is None or not data:
            return
        try:
            self._requests.receive_data(data)
            if not self._paused:
                self._read_requests()
        except h11.RemoteProtocolError:
            self._requests = None  # a hostile one, or one that goes on with raw bytes: the server's matter

    def _read_requests(self) -> None:
        while self._requests is not None:
            event = self._requests.next_event()
            if isinstance(event, h11.Request):
                self._waiting.append(_exchange(event))
                self._wants_upgrade = any(name == b"upgrade" for name, _ in event.headers)
            elif isinstance(event, h11.EndOfMessage):
                if self._wants_upgrade and self._waiting:
                    self._paused = True
                    return
                self._requests = _with(h11.Connection(h11.SERVER), self._requests.trailing_data[0])
            elif not isinstance(event, h11.Data):
                return

    def from_server(self, data: bytes) -> None:
        """b"" at its end."""
        if self._over:
            return
        if self._answers is None:
            if not self._waiting:
                self._left += data
                return
            self._answers = _expecting(self._waiting[0])
            data, self._left = self._left + data, b""
        try:
            self._answers.receive_data(data)
            self._read_answers()
        except h11.RemoteProtocolError as error:
            exchange = self._waiting.popleft()
            if exchange.status:  # the server broke an answer off
                exchange.cut = True
                self._watcher.answered(exchange)
            elif data:
                self._watcher.broken(f"{exchange.method} {exchange.target}: no HTTP: {error}")
            self._stop()

    def _read_answers(self) -> None:
        while self._answers is not None and self._waiting:
            exchange, event = self._waiting[0], self._answers.next_event()
            if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                _answer(exchange, event)
                self._watcher.answered(self._waiting.popleft())
                self._stop()
            elif isinstance(event, h11.Response):
                _answer(exchange, event)
            elif isinstance(event, h11.Data):
                exchange.cut = exchange.cut or len(exchange.body) + len(event.data) > BODY_BYTES
                if not exchange.cut:
                    exchange.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._end_answer()
            elif not isinstance(event, h11.InformationalResponse):
                return

    def _end_answer(self) -> None:
        assert self._answers is not None
        rest = self._answers.trailing_data[0]
        self._watcher.answered(self._waiting.popleft())
        self._answers = None
        if self._paused and self._requests is not None:
            self._paused = False
            self._requests = _with(h11.Connection(h11.SERVER), self._requests.trailing_data[0])
            self._read_requests()
        if rest:
            self.from_server(rest)

    def _stop(self) -> None:
        self._requests = None
        self._waiting.clear()
        self._over = True

    def end(self) -> None:
        """The connection is over."""
        if self._waiting and self._waiting[0].status:
            self._waiting[0].cut = True
            self._watcher.answered(self._waiting[0])
        self._stop()


def _exchange(request: h11.Request) -> Exchange:
    return Exchange(request.method.decode(), request.target.decode("latin-1"), list(request.headers))


def _expecting(exchange: Exchange) -> h11.Connection:
    """Has sent the exchange's request, as far as an answer's reader has to know it."""
    known = {b"host", b"connection", b"upgrade"}
    headers = [(name, value) for name, value in exchange.asked if name.lower() in known]
    if not any(name.lower() == b"host" for name, _ in headers):
        headers.append((b"host", b"x"))
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=exchange.method, target=exchange.target, headers=headers))
    connection.send(h11.EndOfMessage())
    return connection


def _with(connection: h11.Connection, data: bytes) -> h11.Connection:
    if data:
        connection.receive_data(data)
    return connection


def _answer(exchange: Exchange, event: h11.Response | h11.InformationalResponse) -> None:
    exchange.status = event.status_code
    exchange.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}


# The socket


@contextlib.contextmanager
def between(here: Path, there: Path, watcher: Watcher) -> Iterator[None]:
    """Listens on ``here`` for clients of ``there``, until the block is left."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    relay = _Relay(there, watcher)
    try:
        asyncio.run_coroutine_threadsafe(relay.listen(here), loop).result()
        yield
    finally:
        asyncio.run_coroutine_threadsafe(relay.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Relay:
    def __init__(self, there: Path, watcher: Watcher) -> None:
        self._there = there
        self._watcher = watcher
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._hangups = select.epoll()  # tells a client that has closed from one that has only ended its side
        self._gone: dict[int, asyncio.Event] = {}

    async def listen(self, here: Path) -> None:
        self._server = await asyncio.start_unix_server(self._connected, here, backlog=1024)
        asyncio.get_running_loop().add_reader(self._hangups.fileno(), self._hung_up)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(self._hangups.fileno())
        self._hangups.close()

    def _hung_up(self) -> None:
        for descriptor, _ in self._hangups.poll(0):
            self._hangups.unregister(descriptor)
            self._gone[descriptor].set()

    @contextlib.contextmanager
    def _hangup_of(self, writer: asyncio.StreamWriter) -> Iterator[asyncio.Event]:
        descriptor = os.dup(writer.get_extra_info("socket").fileno())
        self._gone[descriptor] = asyncio.Event()
        self._hangups.register(descriptor, 0)
        try:
            yield self._gone[descriptor]
        finally:
            if not self._gone.pop(descriptor).is_set():
                self._hangups.unregister(descriptor)
            os.close(descriptor)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        tap, other = Tap(self._watcher), None
        try:
            from_there, other = await asyncio.open_unix_connection(self._there)
            with self._hangup_of(writer) as gone:
                await _both_ways(
                    _pass(reader, other, tap.from_client), _pass(from_there, writer, tap.from_server), gone
                )
            other.close()
            writer.close()
            async with asyncio.timeout(FLUSH_S):
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            pass  # one of the two has gone, and so the other goes
        except Exception as error:
            self._watcher.broken(f"the watcher itself failed: {error!r}")
        finally:
            tap.end()
            writer.transport.abort()
            if other is not None:
                other.transport.abort()
            self._open.discard(task)


async def _both_ways(
    there: Coroutine[None, None, None], back: Coroutine[None, None, None], gone: asyncio.Event
) -> None:
    """Until both sides have ended theirs, or the client has closed and all that it sent has arrived."""
    sending, answering = asyncio.create_task(there), asyncio.create_task(back)
    leaving = asyncio.create_task(gone.wait())
    tasks = {sending, answering, leaving}
    try:
        await _one_of({sending, answering})
        if not sending.done():
            await sending
        elif not answering.done():
            await _one_of({answering, leaving})
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one_of(tasks: set[asyncio.Task[Any]]) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read: Callable[[bytes], None]
) -> None:
    while data := await reader.read(PIECE_BYTES):
        read(data)
        writer.write(data)
        await writer.drain()
    read(b"")
    writer.write_eof()
