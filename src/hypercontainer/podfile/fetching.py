"""The real ``Fetch``: files of this machine and addresses on the network, with this process's rights, bounded.

For whoever holds the podfile (the command line, the SDK).  A policy can forbid either: a program that takes podfiles
from others should forbid both, because what is fetched ends up in a container that those others chose.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from hypercontainer.errors import HyperError, InvalidArgument, NotFound, Unavailable
from hypercontainer.podfile.tree import shown

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class FetchPolicy:
    """``timeout_s`` is for all of one URI: connection, redirects, content."""

    files: bool = True
    http: bool = True
    max_bytes: int = 16 * 1024 * 1024
    timeout_s: float = 60.0


class Fetcher:
    """Call it with a URI.  InvalidArgument: refused; NotFound and Unavailable: not to be had."""

    def __init__(self, policy: FetchPolicy | None = None) -> None:
        self._policy = policy or FetchPolicy()

    def __call__(self, uri: str, /) -> bytes:
        parts = _split(uri)
        if parts.scheme == "file":
            if not self._policy.files:
                raise InvalidArgument(f"{_shown(uri)}: files of this machine are not read here")
            return self._file(parts)
        if not self._policy.http:
            raise InvalidArgument(f"{_shown(uri)}: no address is fetched here")
        deadline = time.monotonic() + self._policy.timeout_s
        return _within(self._policy.timeout_s, uri, lambda: self._http(uri, deadline))

    # ------------------------------------------------------------------------------------------------- file:

    def _file(self, parts: SplitResult) -> bytes:
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
            raise InvalidArgument(
                f"{_shown(urlunsplit(parts))}: no path of this machine", hint="file:///PATH"
            )
        try:
            # Without O_NONBLOCK a pipe would be waited for before it is seen to be one.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise InvalidArgument(f"{shown(path, 200)} is no regular file")
                data = file.read(self._policy.max_bytes + 1)
        except FileNotFoundError:
            raise NotFound(f"no such file: {shown(path, 200)}") from None
        except OSError as error:
            raise InvalidArgument(f"{shown(path, 200)}: {error.strerror or error}") from None
        return self._bounded(data, path)

    def _bounded(self, data: bytes, name: str) -> bytes:
        if len(data) > self._policy.max_bytes:
            raise InvalidArgument(
                f"{_shown(name)}: more than {self._policy.max_bytes} bytes", hint="put it in a volume"
            )
        return data

    # ------------------------------------------------------------------------------------------------- http:

    def _http(self, uri: str, deadline: float) -> bytes:
        from urllib3 import exceptions  # a file needs none of it

        try:
            for _ in range(MAX_REDIRECTS + 1):
                with closing(_request(uri, deadline)) as response:
                    if response.status not in _REDIRECTS:
                        return self._body(uri, response, deadline)
                    uri = _target(uri, response.headers.get("Location", ""))
        except (exceptions.HTTPError, OSError, ValueError) as error:
            raise Unavailable(f"{_shown(uri)}: {shown(error, 200)}") from error
        raise Unavailable(f"{_shown(uri)}: more than {MAX_REDIRECTS} redirects")

    def _body(self, uri: str, response: BaseHTTPResponse, deadline: float) -> bytes:
        if response.status in (404, 410):
            raise NotFound(f"{_shown(uri)}: the server answers {response.status}")
        if response.status != 200:
            raise Unavailable(f"{_shown(uri)}: the server answers {response.status}")
        data = bytearray()
        while len(data) <= self._policy.max_bytes and (chunk := response.read1(_CHUNK_BYTES)):
            data += chunk
            if time.monotonic() > deadline:
                raise _too_late(uri)
        return self._bounded(bytes(data), uri)


def _request(uri: str, deadline: float) -> BaseHTTPResponse:
    import urllib3

    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise _too_late(uri)
    parts = urlsplit(uri)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    manager = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
    return manager.request(
        "GET",
        uri,
        redirect=False,
        retries=False,
        preload_content=False,
        decode_content=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "hyper"},
        timeout=urllib3.Timeout(connect=min(left_s, 10.0), read=min(left_s, 30.0)),
    )


def _target(source: str, location: str) -> str:
    target = urljoin(source, location)
    schemes = ("https",) if urlsplit(source).scheme == "https" else ("http", "https")
    if not location or urlsplit(target).scheme not in schemes:
        raise Unavailable(f"{_shown(source)}: redirects to {_shown(target)}, which is not followed")
    return target


def _within(timeout_s: float, uri: str, work: Callable[[], bytes]) -> bytes:
    """In a thread of its own, since a server that sends a header's bytes one by one is past every socket's limit."""
    outcome: SimpleQueue[bytes | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, name="fetch", daemon=True).start()
    try:
        result = outcome.get(timeout=timeout_s)
    except Empty:
        raise _too_late(uri) from None
    if isinstance(result, BaseException):
        raise result
    return result


def _too_late(uri: str) -> HyperError:
    return Unavailable(f"{_shown(uri)}: did not arrive in time")


def _split(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        if parts.scheme not in ("file", "http", "https"):
            raise ValueError
        if parts.scheme != "file" and not parts.hostname:
            raise ValueError
    except ValueError:
        raise InvalidArgument(
            f"{_shown(uri)} is not fetched", hint="file:///PATH, http://... or https://..."
        ) from None
    if "@" in parts.netloc:
        raise InvalidArgument(f"{_shown(uri)}: a password in a URI is not used")
    return parts


def _shown(uri: str) -> str:
    """Without the user's name and password."""
    head, slashes, rest = uri.partition("://")
    netloc, slash, path = rest.partition("/")
    return shown(head + slashes + netloc.rpartition("@")[2] + slash + path, 200)
