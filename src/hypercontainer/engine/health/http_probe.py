"""HTTP GET as a probe or a hook: what the status says, by kubelet's rules.

A redirection to the same host is followed, ten times at most; one to another host is good as it is.  At most
HEADERS_MAX_BYTES before the body and BODY_MAX_BYTES of it are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import h11

from hypercontainer.contract.probes import HttpGet
from hypercontainer.engine.health.connect import LOOPBACK, Dial, Stream
from hypercontainer.engine.health.result import Result, bounded, quoted
from hypercontainer.engine.health.tls import TlsStream
from hypercontainer.errors import Unavailable

USER_AGENT = "hyper-probe"
HEADERS_MAX_BYTES = 64 * 1024
BODY_MAX_BYTES = 10 * 1024
REDIRECTS_MAX = 10
READ_BYTES = 16 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
URL_SAFE = "%/:=&?~#+!$,;'@()*[]"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    location: str
    body: bytes


async def http_get(
    dial: Dial,
    check: HttpGet,
    timeout_s: float | None,
    *,
    address: str = LOOPBACK,
    any_status: bool = False,
) -> Result:
    """``any_status``: whoever answers is good, as for kubelet's hooks."""
    return await bounded(_get(dial, check, address, any_status=any_status), timeout_s)


async def _get(dial: Dial, check: HttpGet, address: str, *, any_status: bool) -> Result:
    host = check.host or address
    netloc = f"[{host}]" if ":" in host else host
    path = check.path if check.path.startswith("/") else f"/{check.path}"
    url = f"{check.scheme.lower()}://{netloc}:{check.port}{quote(path, safe=URL_SAFE, errors='replace')}"
    name, headers = _split_host(check.headers)
    for _ in range(REDIRECTS_MAX):
        target = _parsed(url)
        answer = await _exchange(dial, target, headers, name or target.netloc)
        if answer.status not in REDIRECTS or not answer.location:
            return _verdict(answer, any_status=any_status)
        url, whole = _redirected(url, quote(answer.location, safe=URL_SAFE))
        if whole:
            name = ""  # of the place that was asked first; a whole URL brings its own
        if _parsed(url).hostname != target.hostname:
            return Result(True, f"HTTP status {answer.status}, to another host")
    return Result(False, f"stopped after {REDIRECTS_MAX} redirections")


def _verdict(answer: Answer, *, any_status: bool) -> Result:
    if any_status or 200 <= answer.status < 400:
        return Result(True, quoted(answer.body) or f"HTTP status {answer.status}")
    return Result(False, f"HTTP status {answer.status}")


def _split_host(headers: Headers) -> tuple[str, Headers]:
    """The name that the request is for, and the other headers, with defaults; an empty default is left out."""
    given = [(name, value) for name, value in headers if name.lower() != "host"]
    host = [value for name, value in headers if name.lower() == "host"]
    known = {name.lower() for name, _ in given}
    for name, value in (("User-Agent", USER_AGENT), ("Accept", "*/*")):
        if name.lower() not in known:
            given.append((name, value))
    kept = tuple(pair for pair in given if pair[1] or pair[0].lower() not in ("user-agent", "accept"))
    return (host[0] if host else ""), kept


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Unavailable(f"{quoted(url.encode())}: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Unavailable(f"{quoted(url.encode())} is no address of http or https")
    return parts


def _redirected(url: str, location: str) -> tuple[str, bool]:
    """Where it leads, and whether ``location`` names a host itself."""
    try:
        return urljoin(url, location), bool(urlsplit(location).netloc)
    except ValueError as error:
        raise Unavailable(f"a redirection to {quoted(location.encode())}: {error}") from error


async def _exchange(dial: Dial, url: SplitResult, headers: Headers, name: str) -> Answer:
    assert url.hostname is not None
    stream = await dial(url.hostname, url.port or (443 if url.scheme == "https" else 80))
    try:
        if url.scheme == "https":
            stream = TlsStream(stream, url.hostname)
            await stream.connected()
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return await _ask(stream, target, (("Host", name), *headers, ("Connection", "close")))
    except h11.ProtocolError as error:
        raise Unavailable(f"HTTP: {error}") from error
    finally:
        await stream.close()


async def _ask(stream: Stream, target: str, headers: Headers) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_MAX_BYTES)
    fields = [(name.encode("utf-8", "replace"), value.encode("utf-8", "replace")) for name, value in headers]
    request = h11.Request(method="GET", target=target, headers=fields)
    question = connection.send(request), connection.send(h11.EndOfMessage())
    await stream.write(b"".join(part for part in question if part))
    head: h11.Response | None = None
    body = b""
    received = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await stream.read(READ_BYTES)
            received += len(data)
            if head is None and received > HEADERS_MAX_BYTES:
                raise Unavailable(f"HTTP: more than {HEADERS_MAX_BYTES} bytes before the answer's body")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif event is h11.PAUSED:  # a header asked for another protocol, and the server agreed
            raise Unavailable("HTTP: the server changed to another protocol")
        if head is not None and (isinstance(event, h11.EndOfMessage) or len(body) >= BODY_MAX_BYTES):
            location = next((value for field, value in head.headers if field == b"location"), b"")
            return Answer(head.status_code, location.decode("utf-8", "replace"), body[:BODY_MAX_BYTES])
