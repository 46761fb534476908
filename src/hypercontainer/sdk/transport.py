"""The native API on asyncio, by the names of its calls (``contract/routes.py``): one connection an exchange, as
``client.api`` has it, with h11 for the protocol.

What is read is bounded: a head by MAX_HEAD_BYTES, an answer by MAX_ANSWER_BYTES, a line by MAX_LINE_BYTES.
Whoever is cancelled closes his connection, which hyperd takes as "never mind".
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, BinaryIO, NamedTuple, TypeVar

import h11
import msgspec

from hypercontainer.client.api import (
    ANSWER_TIMEOUT_S,
    LIFECYCLE_TIMEOUT_S,
    MAX_ANSWER_BYTES,
    NotRunning,
)
from hypercontainer.client.http import (
    CONNECT_TIMEOUT_S,
    MAX_HEAD_BYTES,
    MAX_LINE_BYTES,
    RECEIVE_BYTES,
    BrokenAnswer,
    connect,
    quote,
    target,
)
from hypercontainer.contract.images import LayerProgress
from hypercontainer.contract.reading import why
from hypercontainer.contract.routes import JSON, PROTOCOL, route
from hypercontainer.errors import HyperError, InvalidArgument, Unavailable
from hypercontainer.sdk.failures import wire_error

T = TypeVar("T")
Query = Mapping[str, object]
OnProgress = Callable[[LayerProgress], None]
CHUNK_BYTES = 256 * 1024


class Upgraded(NamedTuple):
    """A connection that carries frames from here on, and the frames' first bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    first: bytes


class Exchange:
    """One request and its answer.  Owns the connection until ``close``, or ``take`` after 101."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.status = 0
        self._headers: dict[bytes, bytes] = {}

    def header(self, name: str) -> str:
        """Of the answer; "" where it has none of that name."""
        return self._headers.get(name.lower().encode(), b"").decode("latin-1")

    async def send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            with contextlib.suppress(ConnectionError):  # an answer may be there to say why
                await self._writer.drain()

    async def _event(self) -> Any:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                try:
                    self._http.receive_data(await self._reader.read(RECEIVE_BYTES))
                except ConnectionError:
                    self._http.receive_data(b"")
        except h11.RemoteProtocolError as error:
            raise BrokenAnswer(f"hyperd's answer is broken: {error}") from None
        if isinstance(event, h11.ConnectionClosed):
            raise BrokenAnswer("hyperd closed the connection before it answered")
        return event

    async def head(self) -> None:
        """Reads up to the answer's body; an error status is raised."""
        while self.status < 200 and self.status != 101:  # other 1xx are announcements
            event = await self._event()
            self.status, self._headers = event.status_code, dict(event.headers)
        if self.status >= 400:
            raise _error_of(self.status, await self.read(MAX_ANSWER_BYTES))

    async def pieces(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def read(self, limit_bytes: int) -> bytes:
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > limit_bytes:
                raise BrokenAnswer(f"hyperd's answer is longer than {limit_bytes} bytes")
        return bytes(body)

    async def lines(self) -> AsyncIterator[bytes]:
        """Without the line ends; empty lines are left out."""
        rest = b""
        async for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise BrokenAnswer(f"hyperd sent a line longer than {MAX_LINE_BYTES} bytes")
            for line in filter(None, whole):
                yield line
        if rest:
            yield rest

    def take(self) -> Upgraded:
        return Upgraded(self._reader, self._writer, bytes(self._http.trailing_data[0]))

    def close(self) -> None:
        self._writer.transport.abort()


class Api:
    """``start`` is awaited when nobody listens at ``path``; None: that is an error."""

    def __init__(self, path: str, *, start: Callable[[], Awaitable[None]] | None = None) -> None:
        self.path = path
        self.closed = False
        self._start = start

    async def call(
        self,
        name: str,
        answer: type[T],
        of: str = "",
        *,
        query: Query | None = None,
        body: object = None,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> T:
        """The JSON of the call's answer as ``answer``.  ``of``: the object that the call is made on.  ``timeout_s`` is
        for a hyperd that hangs."""
        return decoded(await self._answer(name, of, query, body, timeout_s), answer)

    async def act(self, name: str, of: str = "", *, query: Query | None = None, body: object = None) -> None:
        """Something that takes its time and has no answer."""
        await self._answer(name, of, query, body, LIFECYCLE_TIMEOUT_S)

    async def _answer(
        self, name: str, of: str, query: Query | None, body: object, timeout_s: float | None
    ) -> bytes:
        try:
            async with (
                asyncio.timeout(timeout_s) as limit,
                self.exchange(name, of, query=query, body=body) as exchange,
            ):
                return await exchange.read(MAX_ANSWER_BYTES)
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable(f"hyperd did not answer {name} in time", hint="hyper doctor") from None

    async def values(
        self, name: str, kind: type[T], of: str = "", *, query: Query | None = None
    ) -> AsyncGenerator[T, None]:
        """The answer's JSON lines as they come, without a deadline between them; an error among them is raised."""
        async with self.exchange(name, of, query=query) as exchange:
            async for line in exchange.lines():
                yield converted(_checked(line), kind)

    async def operation(
        self,
        name: str,
        result: type[T],
        *,
        query: Query | None = None,
        body: object = None,
        upload: BinaryIO | None = None,
        progress: OnProgress | None = None,
    ) -> T:
        """A call that tells of its progress; ``upload`` is sent as its body."""
        async with self.exchange(name, query=query, body=body, upload=upload) as exchange:
            async for line in exchange.lines():
                told = _checked(line)
                if "result" in told:
                    return converted(told["result"], result)
                if progress is not None and "progress" in told:
                    progress(converted(told["progress"], LayerProgress))
        raise BrokenAnswer(f"hyperd ended {name} without a result", hint="its log has more")

    async def upgrade(
        self, name: str, of: str = "", *, query: Query | None = None, body: object = None
    ) -> Upgraded:
        exchange = await self._open()
        try:
            fields = {"Connection": "Upgrade", "Upgrade": PROTOCOL}
            await _request(exchange, *_line(name, of, query), body, fields)
            await exchange.head()
            if exchange.status != 101:
                raise BrokenAnswer(f"hyperd answered {name} with {exchange.status} in place of a stream")
        except BaseException:
            exchange.close()
            raise
        return exchange.take()

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        name: str,
        of: str = "",
        *,
        query: Query | None = None,
        body: object = None,
        upload: BinaryIO | None = None,
    ) -> AsyncGenerator[Exchange, None]:
        """An answer whose head has been read.  ``upload`` is sent as the request's body."""
        method, request_target = _line(name, of, query)
        exchange = await self._open()
        sending: asyncio.Task[None] | None = None
        try:
            fields = {"Connection": "close"}
            if upload is None:
                await _request(exchange, method, request_target, body, fields)
            else:
                headers = {
                    "Host": "hyperd",
                    "Transfer-Encoding": "chunked",
                    "Content-Type": route(name).takes,
                    **fields,
                }
                head = h11.Request(method=method, target=request_target, headers=list(headers.items()))
                sending = asyncio.create_task(_send_all(exchange, head, upload))
            await exchange.head()
            yield exchange
        except HyperError:
            if sending is not None and sending.done() and not sending.cancelled():
                unread = sending.exception()
                if unread is not None and not isinstance(unread, h11.LocalProtocolError):
                    raise unread from None  # what is sent could not be read: that is why
            raise
        finally:
            exchange.close()
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _open(self, *, started: bool = False) -> Exchange:
        if self.closed:
            raise InvalidArgument("this client has been closed", hint="make a new one")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S + 1):
                return Exchange(*await asyncio.open_unix_connection(sock=await _connected(self.path)))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if self._start is None or started:
                raise NotRunning(self.path) from error
        except PermissionError as error:
            raise Unavailable(
                f"connect to hyperd at {self.path}: permission denied",
                hint="use the user that runs hyperd, or sudo",
            ) from error
        except OSError as error:
            raise Unavailable(f"connect to hyperd at {self.path}: {error.strerror or error}") from error
        await self._start()
        return await self._open(started=True)


def _line(name: str, of: str, query: Query | None) -> tuple[str, str]:
    """(method, target) of a request."""
    called = route(name)
    return called.method, target(called.path_of(quote(of)), query)


async def _request(
    exchange: Exchange, method: str, request_target: str, body: object, fields: dict[str, str]
) -> None:
    payload = msgspec.json.encode(body) if body is not None else b""
    headers = {"Host": "hyperd", **fields}
    if body is not None or method == "POST":
        headers |= {"Content-Length": str(len(payload)), "Content-Type": JSON}
    await exchange.send(h11.Request(method=method, target=request_target, headers=list(headers.items())))
    if payload:
        await exchange.send(h11.Data(data=payload))
    await exchange.send(h11.EndOfMessage())


async def _send_all(exchange: Exchange, head: h11.Request, source: BinaryIO) -> None:
    """A source that cannot be read to its end leaves the body unfinished, which hyperd takes for a failure."""
    await exchange.send(head)
    try:
        while data := await asyncio.to_thread(source.read, CHUNK_BYTES):
            await exchange.send(h11.Data(data=data))
    except BaseException:
        exchange.close()
        raise
    await exchange.send(h11.EndOfMessage())


def decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BrokenAnswer(f"hyperd's answer is not what it must be: {why(error)}") from None


def converted(value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BrokenAnswer(f"hyperd's answer is not what it must be: {why(error)}") from None


def _checked(line: bytes) -> dict[str, Any]:
    told = decoded(line, dict[str, Any])
    if "error" in told and isinstance(told["error"], dict):
        raise wire_error(told["error"])
    return told


def _error_of(status: int, body: bytes) -> HyperError:
    try:
        return wire_error(decoded(body, dict[str, Any])["error"])
    except (BrokenAnswer, KeyError):
        return BrokenAnswer(f"hyperd answered with HTTP status {status}")


async def _connected(path: str) -> socket.socket:
    """asyncio by itself takes a socket for connected that is refused because others wait to be taken already."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(path)
    except BlockingIOError:
        sock.close()
        patient = await asyncio.to_thread(connect, path)
        patient.setblocking(False)
        return socket.socket(fileno=patient.detach())
    except BaseException:
        sock.close()
        raise
    return sock
