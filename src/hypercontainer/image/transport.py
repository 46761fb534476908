"""HTTP for registries: pools, proxies, TLS, redirects, deadlines, retries.  Knows nothing of registries' words.

Rules: every read has a deadline, and so has all that comes before an answer's body; redirects are followed here, at
most five, over http and https alone, never from https down to http of a host that is not insecure, never with a
secret body to another origin, and ``Authorization`` goes to the host it was meant for only; nobody else than a
registry of this machine or of the local network leads into these; a failure that may pass is a `TransientError`,
which `retrying` waits for, bounded and cancellable.
"""

from __future__ import annotations

import email.utils
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as http_errors

from hypercontainer import __version__
from hypercontainer.errors import RegistryError
from hypercontainer.image.cancel import Guard
from hypercontainer.image.dialing import Call, place_of, watched
from hypercontainer.image.endpoints import (
    as_address,
    is_insecure,
    is_listed,
    may_lead,
    proxy_for,
    tls_context,
)
from hypercontainer.image.model import RegistriesConfig

MAX_REDIRECTS = 5
MAX_POOLS = 32
SEND_CHUNK_BYTES = 256 << 10
MAX_DISCARDED_BYTES = 64 << 10
DISCARD_DEADLINE_S = 10.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
# ValueError: reading a TLS socket that another thread shut down.
READ_ERRORS = (http_errors.HTTPError, OSError, ValueError)
_T = TypeVar("_T")

# Whoever lists a registry as insecure knows it, and a loopback one is no news.
urllib3.disable_warnings(http_errors.InsecureRequestWarning)

Body = Callable[[], bytes | IO[bytes]]  # called for each attempt, so that a body can be sent again


class TransientError(RegistryError):
    """May be gone on the next attempt.  ``retry_after_s`` is what the server asked for, None if nothing."""

    retry_after_s: float | None = None


class Unreachable(TransientError):
    """There was no connection at all."""


class TLSRefused(RegistryError):
    """The server does not speak TLS, or its certificate is not good."""


@dataclass(frozen=True)
class Request:
    """``home`` is the registry that it is for, HOST[:PORT].  ``headers`` go along on redirects, ``authorization`` does
    not leave the host; nor does the body where it is ``secret``."""

    method: str
    url: str
    headers: Mapping[str, str]
    home: str
    authorization: str | None = None
    body: Body | None = None
    secret: bool = False


class _Paced:
    """A request's body; while it is being sent the call gets somewhere."""

    def __init__(self, file: IO[bytes], call: Call) -> None:
        self._file, self._call = file, call

    def read(self, size: int = -1) -> bytes:
        self._call.renew()
        return self._file.read(size)


class Transport:
    """Connections to registries, kept alive; thread safe."""

    def __init__(self, config: RegistriesConfig) -> None:
        self.config = config
        self.schemes: dict[str, str] = {}  # HOST[:PORT] -> the scheme that it turned out to speak
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, ssl.SSLContext | None], urllib3.PoolManager] = {}
        self._places: dict[str, str] = {}  # registry -> where it was reached, in `place_of`'s words

    def close(self) -> None:
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.clear()

    def send(self, request: Request, guard: Guard) -> BaseHTTPResponse:
        """The response of the last hop, body unread; TransientError for statuses that may pass."""
        for _ in range(MAX_REDIRECTS + 1):
            response = self._once(request, guard)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                _raise_transient(response, request.url)
                return response
            response.close()
            request = self._redirected(request, urljoin(request.url, location), response.status)
        raise RegistryError(f"{request.url}: more than {MAX_REDIRECTS} redirects", url=request.url)

    def _redirected(self, request: Request, target: str, status: int) -> Request:
        old, new = urlsplit(request.url), urlsplit(target)
        downgrade = old.scheme == "https" and new.scheme == "http"
        if new.scheme not in ("http", "https") or not new.hostname:
            raise RegistryError(
                f"{request.url}: redirects to {target[:200]!r}, which is not HTTP", url=request.url
            )
        if downgrade and not is_insecure(new.netloc, self.config):
            raise RegistryError(f"{request.url}: redirects from https to {target[:200]!r}", url=request.url)
        request = replace(request, url=target)
        if status == 303:
            request = replace(request, method="GET", body=None, secret=False)
        if new[:2] != old[:2]:
            if request.secret:
                raise RegistryError(
                    f"{old.scheme}://{old.netloc}: redirects a request with credentials to {new.netloc[:200]!r}",
                    url=target,
                )
            request = replace(request, authorization=None)
        return request

    def _once(self, request: Request, guard: Guard) -> BaseHTTPResponse:
        sent = {
            "User-Agent": f"hypercontainer/{__version__}",
            "Accept-Encoding": "identity",
            **request.headers,
        }
        if request.authorization:
            sent["Authorization"] = request.authorization
        what = f"{request.method} {request.url}"
        seconds = self.config.header_timeout_s
        call = Call(seconds, *self._rules(request))
        with guard.calling(call.shut), call:
            body = request.body() if request.body else None
            try:
                response = self._pool(request).request(
                    request.method,
                    request.url,
                    body=body if body is None or isinstance(body, bytes) else _Paced(body, call),  # type: ignore[arg-type]
                    headers=sent,
                    preload_content=False,
                    decode_content=False,
                    redirect=False,
                    retries=False,
                    timeout=urllib3.Timeout(
                        connect=self.config.connect_timeout_s, read=self.config.read_timeout_s
                    ),
                )
                call.go_on()  # a header that ends with its connection is taken for a whole one
                return response
            except READ_ERRORS as error:
                guard.check()
                if call.expired:
                    raise TransientError(
                        f"{what}: no answer within {seconds:g} s", url=request.url
                    ) from error
                raise translated(error, what, request.url) from error

    def _rules(self, request: Request) -> tuple[Callable[[str], None], Callable[[str], None]]:
        """What may be connected to for the request, and who is told what was: see `Call`."""
        home, host = request.home, urlsplit(request.url).netloc

        def check(address: str) -> None:
            place, own = place_of(address), self._places.get(home, "public")
            if not may_lead(own, place) and not is_listed(host, self.config):
                raise RegistryError(
                    f"registry {home} leads to {host[:200]}, which is {address}, a {place} address",
                    url=request.url,
                    hint=f"list {host[:200]} among the insecure registries, or its CA, where that is meant",
                )

        def connected(address: str) -> None:
            if host == home:
                self._places[home] = place_of(address)

        if host == home:
            return lambda _: None, connected
        if literal := as_address(host):
            check(literal)  # a proxy, too, is not asked for it
        return check, connected

    def _pool(self, request: Request) -> urllib3.PoolManager:
        """Connections kept for one registry serve no other: what may be connected to depends on who leads there."""
        parts = urlsplit(request.url)
        proxy = proxy_for(parts.scheme, parts.netloc, self.config.environ) or ""
        context = tls_context(parts.netloc, self.config) if parts.scheme == "https" else None
        key = (request.home, proxy, context)
        with self._lock:
            if key not in self._pools:
                if len(self._pools) >= MAX_POOLS:
                    self._pools.pop(next(iter(self._pools)))
                self._pools[key] = watched(self._new_pool(proxy, context))
            return self._pools[key]

    def _new_pool(self, proxy: str, context: ssl.SSLContext | None) -> urllib3.PoolManager:
        size = self.config.parallel_downloads + 1
        if not proxy:
            return urllib3.PoolManager(ssl_context=context, maxsize=size, blocksize=SEND_CHUNK_BYTES)
        parts = urlsplit(proxy)
        headers = None
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = urllib3.make_headers(proxy_basic_auth=pair)
        return urllib3.ProxyManager(
            proxy, proxy_headers=headers, ssl_context=context, maxsize=size, blocksize=SEND_CHUNK_BYTES
        )


def translated(error: Exception, what: str, url: str) -> RegistryError:
    """An error of the HTTP library or the socket as one of ours."""
    if isinstance(error, http_errors.ProxyError) and error.original_error is not None:
        lost = isinstance(error.original_error, ConnectionResetError | http_errors.ProtocolError)
        kind = TransientError if lost else Unreachable  # a kept connection may end when it is used again
        return kind(f"{what}: the proxy failed: {error.original_error}", url=url)
    if isinstance(error, http_errors.SSLError | ssl.SSLError):
        return TLSRefused(
            f"{what}: TLS failed: {error}",
            url=url,
            hint="configure the registry's CA, or list it as insecure",
        )
    if isinstance(error, http_errors.NewConnectionError | http_errors.ConnectTimeoutError):
        reason = str(error).rpartition(": ")[2]
        return Unreachable(f"{what}: cannot connect: {reason}", url=url)
    if isinstance(error, http_errors.TimeoutError | TimeoutError):
        return TransientError(f"{what}: no answer in time", url=url)
    return TransientError(f"{what}: the connection broke: {error}", url=url)


def _raise_transient(response: BaseHTTPResponse, url: str) -> None:
    if response.status not in _TRANSIENT:
        return
    error = TransientError(
        f"{url}: the registry answered {response.status}",
        http_status=response.status,
        url=url,
        hint="it limits the number of requests: wait, or log in" if response.status == 429 else None,
    )
    error.retry_after_s = retry_after_s(response.headers.get("Retry-After"))
    response.close()
    raise error


def retry_after_s(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """The header's seconds or HTTP date (RFC 9110 10.2.3) as seconds from now; None if there is no use in it."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, OverflowError):
        return None


class Backoff:
    """How often and how long to wait: exponential, with jitter, bounded; progress starts it afresh."""

    def __init__(self, config: RegistriesConfig, guard: Guard) -> None:
        self._config, self._guard = config, guard
        self._failures = 0

    def progressed(self) -> None:
        self._failures = 0

    def wait(self, error: TransientError) -> None:
        """Let the time pass that ``error`` asks for; raises it when there were enough attempts."""
        self._failures += 1
        if self._failures >= self._config.attempts:
            raise error
        delay = self._config.backoff_s * 2 ** (self._failures - 1) * random.uniform(0.75, 1.25)  # noqa: S311
        if error.retry_after_s is not None:
            delay = max(delay, error.retry_after_s)
        self._guard.wait(min(delay, self._config.max_backoff_s))


def retrying(action: Callable[[], _T], config: RegistriesConfig, guard: Guard) -> _T:
    """``action``, again while it fails in a way that may pass.  No connection at all fails at once."""
    backoff = Backoff(config, guard)
    while True:
        guard.check()
        try:
            return action()
        except Unreachable:
            raise
        except TransientError as error:
            backoff.wait(error)


def read_body(response: BaseHTTPResponse, limit: int, what: str, guard: Guard, deadline_s: float) -> bytes:
    """The whole body, at most ``limit`` bytes, within ``deadline_s``."""
    url = response.url or ""
    end = time.monotonic() + deadline_s
    parts: list[bytes] = []
    size = 0
    with guard.calling(lambda: shut(response)):
        try:
            while data := read_piece(response, min(64 << 10, limit + 1 - size), what, guard):
                guard.check()
                parts.append(data)
                size += len(data)
                if size > limit:
                    raise RegistryError(f"{what}: the answer is larger than {limit} bytes", url=url)
                if time.monotonic() > end:
                    raise TransientError(f"{what}: not all of it within {deadline_s:.0f} s", url=url)
        finally:
            if not response.closed:  # else the connection is back in its pool
                response.close()
    return b"".join(parts)


def discard(response: BaseHTTPResponse, guard: Guard) -> None:
    """Be done with a response whose body does not matter; a short one leaves the connection to be used again."""
    with suppress(RegistryError):
        read_body(response, MAX_DISCARDED_BYTES, "", guard, DISCARD_DEADLINE_S)


def read_piece(response: BaseHTTPResponse, size: int, what: str, guard: Guard) -> bytes:
    """Up to ``size`` bytes of the body, as they come; b'' at its end."""
    try:
        return response.read1(size, decode_content=False)
    except READ_ERRORS as error:
        guard.check()
        raise translated(error, what, response.url or "") from error


def shut(response: BaseHTTPResponse) -> None:
    """Wake whoever blocks on reading ``response``."""
    try:
        response.shutdown()
    except (ValueError, RuntimeError, OSError):
        response.close()
