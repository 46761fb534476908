"""Routes as data: what a route takes and answers, how a request finds it, and the strict reading of its query,
headers and body.

A handler gets a `Call` and returns what its route declares: a value for JSON, None for nothing, `Chunks` for a
body that is made as it goes, `Upgrade` for a connection that goes on as frames.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Generic, Protocol, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec

from hypercontainer.contract.calls import CredentialsBody, Request
from hypercontainer.engine.interface import Engine
from hypercontainer.errors import HyperError, InvalidArgument, NotFound

Q = TypeVar("Q")
B = TypeVar("B")

JSON, LINES, FRAMES, TAR, BYTES = (
    "application/json",
    "application/x-ndjson",
    "application/vnd.hyper.frames",
    "application/x-tar",
    "application/octet-stream",
)
PROTOCOL = "hyper-stream"
MAX_QUERY_FIELDS = 200
CREDENTIALS_HEADER = b"x-hyper-credentials"


class Nothing(Request, frozen=True):
    """No query, or no body."""


@dataclass(frozen=True)
class Call(Generic[Q, B]):
    """``id`` is what stands for ID in the path; ``stream`` the body of a route that takes no JSON.  ``peer_uid``: whose
    process the client is, as the kernel says."""

    engine: Engine
    shutdown: Callable[[bool], None]
    id: str
    query: Q
    body: B
    credentials: CredentialsBody | None
    upgrade: bool
    stream: BinaryIO | None
    peer_uid: int | None = None


@dataclass(frozen=True)
class Chunks:
    """``at_once``: the head goes out before the first chunk is there, for what may be silent for long.  ``headers``:
    more of them; the route names them."""

    chunks: AsyncGenerator[bytes, None]
    at_once: bool = False
    headers: tuple[tuple[str, str], ...] = ()


class Session(Protocol):
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        """Has the connection until it ends; ``initial`` is what the client has sent ahead."""


@dataclass(frozen=True)
class Upgrade:
    session: Session


Handler = Callable[[Call[Any, Any]], Awaitable[object]]


@dataclass(frozen=True)
class Route:
    """``path``: ID stands for one segment.  ``answer`` is the type of the JSON body, of each line, or None.
    ``takes``: the media type of the body.  ``tells``: headers of the answer, with what they say.  ``progress``: the
    lines tell how far the work is, and ``answer`` is that of its result.  ``credentials``: it heeds the header with
    them.  ``upgrade``: the connection may go on as frames."""

    method: str
    path: str
    handler: Handler
    summary: str
    query: type[Request] = Nothing
    body: type[msgspec.Struct] = Nothing
    answer: Any = None
    status: int = 200
    takes: str = JSON
    gives: str = JSON
    tells: Mapping[str, str] = field(default_factory=dict)
    progress: bool = False
    credentials: bool = False
    upgrade: bool = False
    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.path.split("/")))


class MethodNotAllowed(HyperError):
    code = "invalid_argument"
    status = 405

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{path} takes {', '.join(allowed)}, not {method}")
        self.allowed = tuple(allowed)


class Router:
    def __init__(self, routes: Sequence[Route]) -> None:
        self._by_length: dict[int, list[Route]] = {}
        for route in routes:
            self._by_length.setdefault(len(route.segments), []).append(route)

    def find(self, method: str, target: str) -> tuple[Route, str, str]:
        """(route, ID, query); raises NotFound and MethodNotAllowed."""
        path, _, query = target.partition("?")
        segments = [unquote(segment) for segment in path.split("/")]
        allowed = []
        for route in self._by_length.get(len(segments), ()):
            found, name = _match(route.segments, segments)
            if found and route.method == method:
                return route, name, query
            if found:
                allowed.append(route.method)
        if allowed:
            raise MethodNotAllowed(method, path, sorted(set(allowed)))
        raise NotFound(f"no such call: {method} {path}", hint="docs/api.md lists them")


def _match(pattern: Sequence[str], segments: Sequence[str]) -> tuple[bool, str]:
    name = ""
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted == "ID":
            if not given:
                return False, ""
            name = given
        elif wanted != given:
            return False, ""
    return True, name


def read_query(text: str, kind: type[Request]) -> Request:
    """Strict; a field of a sequence type may be given several times, one of a mapping type is JSON."""
    try:
        pairs = parse_qsl(text, keep_blank_values=False, max_num_fields=MAX_QUERY_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidArgument(f"query: {error}") from error
    containers = _containers(kind)
    given: dict[str, Any] = {}
    for name, value in pairs:
        outer = containers.get(name)
        if outer is tuple:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise InvalidArgument(f"query: {name} is given twice")
        else:
            given[name] = _json(value, name) if outer is dict else value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"query: {error}") from error


@functools.cache
def _containers(kind: type[Request]) -> dict[str, Any]:
    """For each field tuple, dict, or whatever stands outermost in its type."""
    found = {}
    for item in msgspec.structs.fields(kind):
        outer = item.type
        while hasattr(outer, "__metadata__"):  # Annotated
            outer = outer.__origin__
        found[item.name] = getattr(outer, "__origin__", outer)
    return found


def is_json(kind: Any) -> bool:
    """Whether a query's field of this type is given as JSON."""
    return getattr(kind, "__origin__", kind) is dict


def _json(text: str, name: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"query: {name} is not JSON: {error}") from error


def read_body(data: bytes, kind: type[msgspec.Struct]) -> Any:
    """An empty body is an empty object."""
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"body: {error}") from error


def read_credentials(headers: Mapping[bytes, bytes]) -> CredentialsBody | None:
    value = headers.get(CREDENTIALS_HEADER)
    if value is None:
        return None
    try:
        data = base64.b64decode(value + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(data, type=CredentialsBody)
    except (binascii.Error, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # Without the cause: it could quote what it read.
        raise InvalidArgument("X-Hyper-Credentials: base64url of the JSON in docs/api.md is wanted") from None
