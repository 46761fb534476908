"""A client's session: what BuildKit asks the client of a build for, its files and secrets, and what hyperd asks it for.

BuildKit is the caller; what it asks is passed on as it is.  hyperd's own calls are two: for a Dockerfile, to know which
images it names, and for credentials, to pull these.
"""

from __future__ import annotations

import asyncio
import posixpath
from urllib.parse import quote_plus

from h2.errors import ErrorCodes

from hypercontainer.engine import protobuf
from hypercontainer.engine.build.grpc import Conversation
from hypercontainer.engine.build.http2 import Broken, Carrier, Fields, Link, Outward, Sink, Wire
from hypercontainer.errors import Conflict, HyperError, NotFound
from hypercontainer.image.credentials import Credentials

FILES = "/moby.filesync.v1.FileSync/DiffCopy"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
DOCKER_HUB_HOST = "registry-1.docker.io"
ASKED_S = 20.0
DOCKERFILE_MAX_BYTES = 1 << 20
ANSWER_MAX_BYTES = 2 << 20

# Of the packets that files come in.
TYPE, STAT, NUMBER, DATA = 1, 2, 3, 4
IS_STAT, IS_REQUEST, IS_DATA, IS_END, IS_ERROR = range(5)
PATH, MODE, LINK = 1, 2, 7  # of a file's facts
IS_SYMLINK = 1 << 27  # as Go has it
LINKS_MAX = 8


class ClientSession:
    """``client`` is who answers, ``builder`` who asks."""

    def __init__(self, client: Wire, builder: Wire) -> None:
        self._client = Link(client, caller=False)
        self._builder = Link(builder, caller=True, opened=self._opened)

    async def run(self) -> None:
        """Until one of them has gone; Broken."""
        carrier = Carrier()
        carrier.add(self._client)
        carrier.add(self._builder)
        await carrier.run()

    def _opened(self, stream: int, fields: Fields) -> Sink | None:
        back = Outward(self._builder, stream)
        try:
            return self._client.open(fields, back)
        except Broken:
            back.reset(ErrorCodes.REFUSED_STREAM)
            return None

    async def dockerfile(self, directory: str, path: str) -> str:
        """NotFound, Conflict."""
        metadata = [*_said(b"dir-name", directory), *_said(b"followpaths", path)]
        call = Conversation(self._client, FILES, metadata, limit_bytes=ANSWER_MAX_BYTES)
        try:
            async with asyncio.timeout(ASKED_S):
                return (await _file(call, path)).decode(errors="replace")
        except (TimeoutError, protobuf.Malformed) as error:
            raise Conflict(f"{path} cannot be had of the client: {error}") from None
        finally:
            call.close()

    async def credentials(self, registry: str) -> Credentials | None:
        """None where the client has none."""
        call = Conversation(self._client, CREDENTIALS, limit_bytes=ANSWER_MAX_BYTES)
        try:
            host = DOCKER_HUB_HOST if registry == "docker.io" else registry
            call.send(protobuf.written([protobuf.text(1, host)]))
            call.finish()
            async with asyncio.timeout(ASKED_S):
                said = protobuf.read(await call.receive() or b"")
        except (TimeoutError, protobuf.Malformed, HyperError):
            return None
        finally:
            call.close()
        user, secret = protobuf.last_text(said, 1), protobuf.last_text(said, 2)
        if not secret:
            return None
        return Credentials(user, secret) if user else Credentials(identity_token=secret)


def _said(name: bytes, value: str) -> Fields:
    """As BuildKit's clients read it: only ASCII as it is."""
    if value.isascii() and value.isprintable():
        return [(name, value.encode())]
    return [(name, quote_plus(value).encode()), (name + b"-encoded", b"1")]


async def _file(call: Conversation, path: str) -> bytes:
    """The content of a regular file.  They are numbered as they are told of."""
    numbers: dict[str, int] = {}
    links: dict[str, str] = {}
    while facts := protobuf.all_of(await _packet(call, IS_STAT), STAT):
        said = protobuf.read(facts[0])
        name = protobuf.last_text(said, PATH)
        if protobuf.last_number(said, MODE) & IS_SYMLINK:
            links[name] = protobuf.last_text(said, LINK)
        numbers[name] = len(numbers)
    wanted = posixpath.normpath(path)
    for _ in range(LINKS_MAX):
        if wanted in links:
            wanted = posixpath.normpath(posixpath.join(posixpath.dirname(wanted), links[wanted]))
    if wanted not in numbers or wanted in links:
        raise NotFound(f"the client has no {path}")
    request = [protobuf.number(TYPE, IS_REQUEST), protobuf.number(NUMBER, numbers[wanted])]
    call.send(protobuf.written(request))
    content = b""
    while data := protobuf.all_of(await _packet(call, IS_DATA), DATA):
        if not data[0]:
            break
        content += data[0]
        if len(content) > DOCKERFILE_MAX_BYTES:
            raise Conflict(f"{path} has more than {DOCKERFILE_MAX_BYTES} bytes")
    call.send(protobuf.written([protobuf.number(TYPE, IS_END)]))
    call.finish()
    return content


async def _packet(call: Conversation, kind: int) -> protobuf.Message:
    message = await call.receive()
    said = protobuf.read(message or b"")
    if message is None or protobuf.last_number(said, TYPE) != kind:
        words = protobuf.all_of(said, DATA)
        raise Conflict(
            f"the client does not send its file: {words[0][:200] if words else 'something else'!r}"
        )
    return said
