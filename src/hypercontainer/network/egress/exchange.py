"""HTTP/1.1 of one client: requests are parsed, decided, and written anew; answers likewise.

No byte that a guest sent as framing goes on to a server: h11 reads it, and h11 writes what it has read.  What two
readers could take for different requests is refused.  Bodies flow both ways at once and are never kept; trailers are
dropped.  Only a change to a WebSocket is passed on, after which bytes are copied.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import h11

from hypercontainer.network.egress import rules, streams
from hypercontainer.network.egress.rules import Refused
from hypercontainer.network.egress.streams import Stream

HEAD_MAX = 64 << 10  # bytes of a request's head, or an answer's
HEADERS_MAX = 200
HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade".split()
)
FORBIDDEN = ("CONNECT", "TRACE")  # TRACE would say to the guest what was put in
_Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]
Headers = list[tuple[bytes, bytes]]
_REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}


@dataclass(frozen=True)
class Timeouts:
    """``connect_s``: to a server, by whichever of its addresses, for each of which there is ``address_s``; ``head_s``:
    for a request's head; ``idle_s``: between two; ``silent_s``: nobody says anything."""

    hello_s: float = 15.0
    connect_s: float = 15.0
    address_s: float = 5.0
    head_s: float = 30.0
    idle_s: float = 90.0
    silent_s: float = 900.0
    linger_s: float = 2.0
    linger_bytes: int = 1 << 20


class Problem(Exception):
    """An answer that is the proxy's own."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class Way:
    """What an exchange is between.  ``host``: of TLS, what the client asked for; None in clear."""

    scheme: str
    host: str | None
    decide: Callable[[str, str, str], None]  # (host, method, path); raises Refused
    secrets: Callable[[str], Sequence[tuple[bytes, bytes]]]  # of a host: (header, value)
    connect: Callable[[str], Awaitable[Stream]]  # raises Refused and OSError
    refused: Callable[[str, str, str], bytes]  # (method, url, reason): told; the body of the answer
    timeouts: Timeouts = Timeouts()


@dataclass(frozen=True)
class Wanted:
    """A request in its normal form."""

    method: str
    host: str
    path: str
    headers: Headers
    websocket: bool


class _Server:
    """A connection to one, which may serve several requests."""

    def __init__(self, host: str, stream: Stream) -> None:
        self.host, self.stream = host, stream
        self.http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
        self._reading: asyncio.Task[bytes] | None = None

    def reading(self) -> asyncio.Task[bytes]:
        """Whoever gives up to wait for it loses nothing of what comes."""
        if self._reading is None:
            self._reading = asyncio.create_task(self.stream.read())
        return self._reading

    async def read(self) -> bytes:
        data = await self.reading()
        self._reading = None
        return data

    async def send(self, event: h11.Event) -> None:
        data = self.http.send(event)
        if data:
            await self.stream.write(data)

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self.stream.close()


class Exchange:
    """``serve`` returns when the client has ended, or was refused; its stream is then to be closed."""

    def __init__(self, client: Stream, way: Way) -> None:
        self._client, self._way, self._times = client, way, way.timeouts
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._server: _Server | None = None

    async def serve(self) -> None:
        wait_s = self._times.head_s
        try:
            while await self._one(wait_s):
                wait_s = self._times.idle_s
        except Problem as problem:
            await self._say(problem.status, f"{problem}\n".encode())
        except h11.RemoteProtocolError as error:
            await self._say(error.error_status_hint or 400, f"this is no request: {error}\n".encode())
        finally:
            await self._leave()

    async def _one(self, wait_s: float) -> bool:
        """Whether another request may follow."""
        request = await self._request(wait_s)
        if request is None:
            return False
        wanted = _wanted(request, self._way)
        try:
            self._way.decide(wanted.host, wanted.method, wanted.path)
            server = await self._connected(wanted.host)
        except Refused as refused:
            url = f"{self._way.scheme}://{wanted.host}{wanted.path.partition('?')[0]}"
            await self._say(403, self._way.refused(wanted.method, url, str(refused)))
            return False
        await self._pass(server, wanted)
        if server.http.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            server.http.start_next_cycle()
        else:
            await self._leave()
        if self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            await streams.linger(self._client, self._times.linger_s, self._times.linger_bytes)
            return False
        self._http.start_next_cycle()
        return True

    async def _request(self, wait_s: float) -> h11.Request | None:
        """The next one; None where the client has ended, or the server that it spoke to."""
        try:
            async with asyncio.timeout(wait_s):
                event = await self._first()
        except TimeoutError:
            if not self._http.trailing_data[0]:
                return None
            raise Problem(408, "the request did not come in time") from None
        if not isinstance(event, h11.Request):
            return None
        if len(event.headers) > HEADERS_MAX:
            raise Problem(431, "the request has too many headers")
        return event

    async def _first(self) -> _Event:
        if self._server is None:
            return await self._said()
        mine, theirs = asyncio.create_task(self._said()), self._server.reading()
        try:
            await asyncio.wait((mine, theirs), return_when=asyncio.FIRST_COMPLETED)
            return await mine if mine.done() else h11.ConnectionClosed()
        finally:
            mine.cancel()
            await asyncio.gather(mine, return_exceptions=True)

    async def _connected(self, host: str) -> _Server:
        if self._server is not None and (self._server.host != host or self._server.reading().done()):
            await self._leave()
        if self._server is None:
            try:
                async with asyncio.timeout(self._times.connect_s):
                    self._server = _Server(host, await self._way.connect(host))
            except TimeoutError:
                raise Problem(504, f"{host} did not answer") from None
            except OSError as error:
                raise Problem(502, f"{host} cannot be reached: {_words(error)}") from None
        return self._server

    async def _leave(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            await server.close()

    # ------------------------------------------------------------------------------------- what flows

    async def _pass(self, server: _Server, wanted: Wanted) -> None:
        """The request with its body, and meanwhile the answer."""
        there = asyncio.create_task(self._upload(server, wanted))
        back = asyncio.create_task(self._answer(server, wanted))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            if not back.done():
                await there
            switched = await back
        finally:
            for each in (there, back):
                each.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        if switched:
            await self._copy(server)

    async def _upload(self, server: _Server, wanted: Wanted) -> None:
        """Ends in peace where the server hears no more: its answer says why."""
        headers = [(b"Host", _bracketed(wanted.host).encode()), *wanted.headers]
        event: h11.Event = h11.Request(method=wanted.method, target=wanted.path, headers=headers)
        while True:
            try:
                async with asyncio.timeout(self._times.silent_s):
                    await server.send(event)
            except (OSError, h11.LocalProtocolError):
                return
            if isinstance(event, h11.EndOfMessage):
                return
            came = await self._said(self._times.silent_s)
            if isinstance(came, h11.Data):
                event = h11.Data(data=came.data)
            elif isinstance(came, h11.EndOfMessage):
                event = h11.EndOfMessage()
            else:
                raise OSError("the client has gone away")

    async def _answer(self, server: _Server, wanted: Wanted) -> bool:
        """Whether the connection is a WebSocket's from now on."""
        while True:
            event = await self._heard(server)
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101 and not wanted.websocket:
                    raise Problem(502, f"{wanted.host} changed to what nobody asked for")
                await self._inform(event)
                if event.status_code == 101:
                    return True
            elif isinstance(event, h11.Response):
                await self._send(_answered(event))
            elif isinstance(event, h11.Data):
                await self._send(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self._send(h11.EndOfMessage())
                return False
            else:
                raise Problem(502, f"{wanted.host} ended without an answer")

    async def _inform(self, event: h11.InformationalResponse) -> None:
        if self._http.their_http_version != b"1.1":
            return
        switches = event.status_code == 101
        more = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")] if switches else []
        headers = [*_kept(list(event.headers.raw_items())), *more]
        await self._send(
            h11.InformationalResponse(status_code=event.status_code, headers=headers, reason=event.reason)
        )

    async def _heard(self, server: _Server) -> _Event:
        """An event of the server's."""
        try:
            return await _event(server.http, server.read, self._times.silent_s)
        except TimeoutError:
            raise Problem(504, f"{server.host} did not answer in time") from None
        except h11.RemoteProtocolError as error:
            raise Problem(502, f"{server.host} answered what is no answer: {error}") from None
        except OSError as error:
            raise Problem(502, f"{server.host} broke off: {_words(error)}") from None

    async def _said(self, silent_s: float | None = None) -> _Event:
        """An event of the client's."""
        return await _event(self._http, self._client.read, silent_s)

    async def _send(self, event: h11.Event) -> None:
        """To the client."""
        if data := self._http.send(event):
            async with asyncio.timeout(self._times.silent_s):
                await self._client.write(data)

    async def _copy(self, server: _Server) -> None:
        mine, theirs = self._http.trailing_data[0], server.http.trailing_data[0]
        if mine:
            await server.stream.write(mine)
        if theirs:
            await self._client.write(theirs)
        await relay(self._client, server.stream, self._times.silent_s)

    async def _say(self, status: int, body: bytes) -> None:
        """An answer of our own, after which the client is left alone."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [(b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(body))]
        headers += [(b"Connection", b"close"), (b"Via", b"1.1 hyper")]
        with contextlib.suppress(OSError, TimeoutError):
            await self._send(
                h11.Response(status_code=status, headers=headers, reason=_REASONS.get(status, b""))
            )
            await self._send(h11.Data(data=body))
            with contextlib.suppress(h11.LocalProtocolError):  # of HEAD there is no body
                await self._send(h11.EndOfMessage())
        await streams.linger(self._client, self._times.linger_s, self._times.linger_bytes)


async def relay(one: Stream, other: Stream, silent_s: float) -> None:
    """Copies both ways until both have ended, or one breaks."""
    ways = [asyncio.create_task(streams.copy(*pair, silent_s)) for pair in ((one, other), (other, one))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for each in ways:
            each.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _event(
    http: h11.Connection, read: Callable[[], Awaitable[bytes]], silent_s: float | None
) -> _Event:
    while True:
        event = http.next_event()
        if event is not h11.NEED_DATA:
            return event
        async with asyncio.timeout(silent_s):
            http.receive_data(await read())


def _wanted(request: h11.Request, way: Way) -> Wanted:
    """Raises `Problem` for what is no request, or one of another host."""
    method, version = request.method.decode("ascii"), request.http_version
    fields = [name for name, _ in request.headers]
    if method in FORBIDDEN:
        raise Problem(405, f"{method} does not leave a pod")
    if b"transfer-encoding" in fields and (b"content-length" in fields or version != b"1.1"):
        raise Problem(400, "the request says its length in two ways")
    if fields.count(b"host") != 1 or version not in (b"1.0", b"1.1"):
        raise Problem(400, "the request has no host, or is of another HTTP")
    values = dict(request.headers)
    try:
        named, path = rules.target(request.target.decode("latin-1"), way.scheme)
        host = rules.authority(values[b"host"].decode("latin-1"), way.scheme)
        path = rules.normal(path)
    except Refused as refused:
        raise Problem(400, str(refused)) from None
    if named not in (None, host):
        raise Problem(400, "the request's target and its Host differ")
    if way.host not in (None, host):
        raise Problem(421, f"this connection is to {way.host}, and not to {host}")
    secrets = way.secrets(host)
    secret = {_plain(name) for name, _ in secrets}
    headers = [each for each in _kept(list(request.headers.raw_items())) if _plain(each[0]) not in secret]
    headers = [each for each in headers if each[0].lower() != b"host"] + list(secrets)
    if b"transfer-encoding" in fields:
        headers.append((b"Transfer-Encoding", b"chunked"))
    websocket = method == "GET" and version == b"1.1" and values.get(b"upgrade", b"").lower() == b"websocket"
    if websocket:
        headers += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    return Wanted(method, host, path, headers, websocket)


def _answered(event: h11.Response) -> h11.Response:
    headers = _kept(list(event.headers.raw_items()))
    return h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)


def _kept(headers: Headers) -> Headers:
    """Without those that are of one connection alone (RFC 9110, section 7.6.1)."""
    listed = {
        word.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for word in value.split(b",")
    }
    gone = HOP | (listed - {b"content-length", b"host"})
    return [(name, value) for name, value in headers if name.lower() not in gone]


def _plain(name: bytes) -> bytes:
    """Servers of CGI's kind take "X_Token" for "X-Token"."""
    return name.lower().replace(b"_", b"-")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _words(error: OSError) -> str:
    return getattr(error, "verify_message", "") or error.strerror or str(error) or type(error).__name__
