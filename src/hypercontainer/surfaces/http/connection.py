"""One client's connection: HTTP/1.1 by h11 over asyncio's streams.  Knows no routes.

Everything is bounded: a request's head (bytes, and time from its first byte), the wait for the next request, a
body that is read whole (bytes and time), what a client sends ahead of its turn.  One request at a time; answers
wait for the client to read them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

import h11

from hypercontainer.engine.pipes import Bytes
from hypercontainer.errors import InvalidArgument

Headers = Iterable[tuple[str, str]]

READ_BYTES = 65536  # of heads, whose size is looked at from read to read
BODY_READ_BYTES = 1 << 18
HTTP2_METHOD = b"PRI"  # of no request: a connection begins so that is HTTP/2 from the start (RFC 9113, 3.4)
HTTP2_BEGINNING = b"PRI * HTTP/2.0\r\n\r\n"
LINGER_S = 2.0  # for what a client still sends when it has been answered


@dataclass(frozen=True)
class Limits:
    connections: int = 4096
    head_bytes: int = 65536  # credentials travel in a header
    head_s: float = 10.0
    idle_s: float = 120.0
    body_bytes: int = 8 << 20  # of a body that is read whole
    body_s: float = 30.0
    silence_s: float = 600.0  # within a body that is read as it comes
    write_s: float = 60.0  # for an answer that is written whole
    ahead_bytes: int = 65536  # that a client may send before its request has been answered


class ClientGone(Exception):
    """The client closed the connection, or broke off in the middle of a request."""


async def drain(writer: asyncio.StreamWriter) -> None:
    """Waits for the client's side to have room; an error of the connection is the client's leaving."""
    try:
        await writer.drain()
    except OSError as error:
        raise ClientGone from error


class BadRequest(InvalidArgument):
    """Not HTTP/1.1, or more of it than is taken; the connection cannot go on."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WrongVersion(BadRequest):
    def __init__(self) -> None:
        super().__init__("only HTTP/1.1 is spoken here", 505)


class TooLarge(BadRequest):
    def __init__(self, limit: int) -> None:
        super().__init__(f"the body has more than {limit} bytes", 413)


class Connection:
    """``uid``: of the client, where it is known otherwise than by the kernel."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: Limits,
        uid: int | None = None,
    ) -> None:
        self._uid = uid
        self.reader = reader
        self.writer = writer
        self.limits = limits
        self.idle = True  # between two requests
        self.crowded = False  # it is one too many, and is told so
        self._head_only = False  # the request is HEAD
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)

    def peer(self) -> tuple[int, int, int]:
        """(pid, uid, gid) of the client; SO_PEERCRED of unix(7)."""
        sock = self.writer.get_extra_info("socket")
        pid, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, uid, gid

    def peer_uid(self) -> int | None:
        """None where the kernel cannot tell, as for a connection that is no unix socket."""
        uid = self.peer()[1] if self._uid is None else self._uid
        return uid if uid >= 0 else None

    # Reading

    async def request(self) -> h11.Request | None:
        """The next request, once its head is here; None when the client has no more."""
        self.idle = True
        self._head_only = False
        if not self._h11.trailing_data[0] and not await self._first_bytes():
            return None
        self.idle = False
        try:
            async with asyncio.timeout(self.limits.head_s):
                event = await self._event()
        except TimeoutError:
            raise BadRequest(f"no whole request within {self.limits.head_s:g} s", 408) from None
        if not isinstance(event, h11.Request):
            return None
        if not event.http_version.startswith(b"2.0" if event.method == HTTP2_METHOD else b"1."):
            raise WrongVersion
        self._head_only = event.method == b"HEAD"
        fields = dict(event.headers)
        if b"content-length" in fields and b"transfer-encoding" in fields:
            # Two ends of one body: whoever reads between us and the client may take the other one (RFC 9112, 6.3).
            raise BadRequest("Content-Length beside Transfer-Encoding", 400)
        if fields.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in fields:
            await self._event()  # the end of the empty body, so that refusing it need not cost the connection
        return event

    async def _first_bytes(self) -> bool:
        try:
            async with asyncio.timeout(self.limits.idle_s):
                return await self._feed()
        except TimeoutError:
            return False

    async def _feed(self) -> bool:
        """False at the end of what the client sends."""
        try:
            data = await self.reader.read(READ_BYTES if self.body_done else BODY_READ_BYTES)
        except OSError as error:
            raise ClientGone from error
        self._receive(data)
        return bool(data)

    def _receive(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise BadRequest(str(error), error.error_status_hint) from error

    async def _event(self) -> object:
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                if self.reader.at_eof():
                    raise ClientGone from error
                raise BadRequest(str(error), error.error_status_hint) from error
            if event is not h11.NEED_DATA:
                return event
            if self._h11.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            await self._feed()

    @property
    def body_done(self) -> bool:
        return self._h11.their_state is not h11.SEND_BODY

    async def chunks(self) -> AsyncIterator[Bytes]:
        """The body as it comes; raises ClientGone where it stops short, BadRequest where nothing comes for long."""
        while not self.body_done:
            try:
                async with asyncio.timeout(self.limits.silence_s):
                    event = await self._event()
            except TimeoutError:
                raise BadRequest(f"nothing of the body came for {self.limits.silence_s:g} s", 408) from None
            if isinstance(event, h11.Data):
                yield event.data
            elif isinstance(event, h11.ConnectionClosed):
                raise ClientGone

    async def whole_body(self, grow: Callable[[int], None]) -> bytes:
        """``grow`` is told of each piece, and raises where there is no room for it."""
        limit = self.limits.body_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_s):
                async for chunk in self.chunks():
                    if len(body) + len(chunk) > limit:
                        raise TooLarge(limit)
                    grow(len(chunk))
                    body += chunk
        except TimeoutError:
            raise BadRequest(f"no whole body within {self.limits.body_s:g} s", 408) from None
        return bytes(body)

    async def gone(self) -> None:
        """Returns when the client has closed its side; for use when the whole request is here.

        What the client sends ahead is kept, up to a bound; a client beyond it is no longer watched.
        """
        while len(self._h11.trailing_data[0]) <= self.limits.ahead_bytes:
            if not await self._feed():
                return
        await asyncio.get_running_loop().create_future()

    # Writing

    def _write(self, event: h11.Event) -> None:
        parts = self._h11.send_with_data_passthrough(event)
        if parts:
            self.writer.writelines(parts)

    async def answer(
        self, status: int, headers: Headers = (), body: bytes = b"", *, close: bool = False
    ) -> None:
        """A whole answer; a client that does not take it in time counts as gone.  To HEAD only its head."""
        length = () if status in (101, 204) else (("Content-Length", str(len(body))),)
        self._head(status, (*headers, *length), close=close)
        if body and not self._head_only:
            self._write(h11.Data(data=body))
        self._write(h11.EndOfMessage())
        try:
            async with asyncio.timeout(self.limits.write_s):
                await self.writer.drain()
        except OSError as error:  # TimeoutError is one
            raise ClientGone from error

    async def begin(self, status: int, headers: Headers = ()) -> None:
        """The head of an answer whose body follows by `send`, and ends by `end`."""
        self._head(status, headers, close=False)
        await drain(self.writer)

    async def send(self, data: bytes) -> None:
        """Returns when the client's side has room for more."""
        if data:
            self._write(h11.Data(data=data))
        await drain(self.writer)

    async def end(self) -> None:
        self._write(h11.EndOfMessage())
        await drain(self.writer)

    def switch(self, protocol: str, headers: Headers = ()) -> bytes:
        """101: the connection is no longer HTTP's.  The bytes that the client has already sent."""
        fields = [("Connection", "Upgrade"), ("Upgrade", protocol), *headers]
        reason = HTTPStatus.SWITCHING_PROTOCOLS.phrase.encode()
        self._write(h11.InformationalResponse(status_code=101, headers=fields, reason=reason))
        return self._h11.trailing_data[0]

    def let_go(self, status: int, headers: Headers = ()) -> bytes:
        """As `switch`, by an answer whose body has neither length nor chunks: it ends with the connection.  h11 has no
        words for it, and is not asked again."""
        said = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self.writer.write("\r\n".join([*said, "Connection: close", "", ""]).encode("latin-1"))
        self._h11.send_failed()
        return self._h11.trailing_data[0]

    def whole(self) -> bytes:
        """All that came of a connection that begins as HTTP/2, which h11 took for a request."""
        self._h11.send_failed()
        return HTTP2_BEGINNING + self._h11.trailing_data[0]

    def _head(self, status: int, headers: Headers, *, close: bool) -> None:
        fields = [*headers, *((("Connection", "close"),) if close or not self.body_done else ())]
        phrase = HTTPStatus(status).phrase.encode()
        self._write(h11.Response(status_code=status, headers=fields, reason=phrase))

    @property
    def may_answer(self) -> bool:
        """No answer has begun."""
        return self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE)

    def next_cycle(self) -> bool:
        """Ready for the next request on this connection, if there can be one."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    # Ending

    async def linger(self) -> None:
        """Lets what was written reach the client, however slowly it reads, and then throws away for a moment what
        it still sends: closing on unread bytes may cost it the answer."""
        self.writer.transport.set_write_buffer_limits(high=0)
        await drain(self.writer)
        try:
            async with asyncio.timeout(LINGER_S):
                self.writer.write_eof()
                while await self.reader.read(READ_BYTES):
                    pass
        except (TimeoutError, OSError):
            pass

    def abort(self) -> None:
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        try:
            async with asyncio.timeout(LINGER_S):
                await self.writer.wait_closed()
        except (TimeoutError, OSError):
            self.abort()
