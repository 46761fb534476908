"""gRPC over ``http2``: calls that are looked at as whole messages, and calls of our own."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from urllib.parse import quote

from h2.errors import ErrorCodes

from hypercontainer.engine.build.http2 import Fields, Link, Outward, Sink, Taken
from hypercontainer.errors import Conflict, HyperError, Unavailable

PREFIX = struct.Struct(">?I")  # compressed, length
MESSAGE_MAX_BYTES = 16 << 20  # as BuildKit has it
UNKNOWN, UNAVAILABLE = 2, 14


class Reset(HyperError):
    """A peer has given a call up."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the call was given up (HTTP/2 error {code})")
        self.reset_code = code


def framed(message: bytes) -> bytes:
    return PREFIX.pack(False, len(message)) + message


def path_of(fields: Fields) -> str:
    return value_of(fields, b":path")


def value_of(fields: Fields, name: bytes) -> str:
    """ "" where there is none."""
    return next((value for key, value in fields if key == name), b"").decode("latin-1")


def refusal(error: HyperError) -> Fields:
    """An answer that is an error and nothing else."""
    code = UNAVAILABLE if isinstance(error, Unavailable) else UNKNOWN
    words = quote(error.message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"%d" % code),
        (b"grpc-message", words.encode()),
    ]


class Late:
    """A sink for what comes before it is known where it goes."""

    def __init__(self) -> None:
        self._known: Sink | None = None
        self._kept: list[Callable[[Sink], None]] = []

    def become(self, sink: Sink) -> None:
        self._known = sink
        kept, self._kept = self._kept, []
        for each in kept:
            each(sink)

    def headers(self, fields: Fields, *, ended: bool) -> None:
        self._do(lambda sink: sink.headers(fields, ended=ended))

    def data(self, data: bytes, taken: Taken) -> None:
        self._do(lambda sink: sink.data(data, taken))

    def end(self) -> None:
        self._do(lambda sink: sink.end())

    def reset(self, code: int) -> None:
        self._do(lambda sink: sink.reset(code))

    def _do(self, what: Callable[[Sink], None]) -> None:
        if self._known is not None:
            what(self._known)
        else:
            self._kept.append(what)


class Reworded:
    """A sink that passes on what comes message by message, each as ``reword`` has it."""

    def __init__(self, out: Outward, reword: Callable[[bytes], bytes]) -> None:
        self._out, self._reword = out, reword
        self._data = bytearray()
        self._plain = False  # what comes is not understood

    def headers(self, fields: Fields, *, ended: bool) -> None:
        self._out.headers(fields, ended=ended)

    def data(self, data: bytes, taken: Taken) -> None:
        self._data += data
        said = b""
        try:
            while not self._plain and (message := next(messages(self._data), None)) is not None:
                said += framed(self._reword(message))
        except Conflict:
            self._plain = True
        if self._plain:
            said, self._data = said + self._data, bytearray()
        if said:
            self._out.data(said, taken)
        else:
            taken()

    def end(self) -> None:
        self._out.end()

    def reset(self, code: int) -> None:
        self._out.reset(code)


class Whole:
    """A sink that keeps what comes, to its end: ``heads`` and the one message.  ``gone`` is called where its peer gives
    the call up, then or later."""

    def __init__(self, gone: Callable[[], object] = lambda: None) -> None:
        self.heads: list[Fields] = []
        self._data = bytearray()
        self._gone = gone
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Somebody may have stopped waiting.
        self._done.add_done_callback(lambda future: future.cancelled() or future.exception())

    def headers(self, fields: Fields, *, ended: bool) -> None:
        self.heads.append(fields)
        if ended:
            self.end()

    def data(self, data: bytes, taken: Taken) -> None:
        taken()
        if self._done.done():
            return
        self._data += data
        if len(self._data) > MESSAGE_MAX_BYTES + PREFIX.size:
            self._done.set_exception(Conflict(f"gRPC: a message of more than {MESSAGE_MAX_BYTES} bytes"))

    def end(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def reset(self, code: int) -> None:
        if not self._done.done():
            self._done.set_exception(Reset(code))
        self._gone()

    async def message(self) -> bytes | None:
        """None where it ends without one, as an error does."""
        await self._done
        found = list(messages(self._data))
        if self._data or len(found) > 1:
            raise Conflict("gRPC: one whole message is wanted")
        return found[0] if found else None

    @property
    def trailers(self) -> Fields:
        return self.heads[-1] if self.heads else []


def messages(data: bytearray) -> Iterator[bytes]:
    """Those that are whole, which are taken out of ``data``; Conflict."""
    while len(data) >= PREFIX.size:
        compressed, length = PREFIX.unpack_from(data)
        if compressed or length > MESSAGE_MAX_BYTES:
            raise Conflict("gRPC: a message is compressed, or too large")
        if len(data) < PREFIX.size + length:
            return
        message = bytes(data[PREFIX.size : PREFIX.size + length])
        del data[: PREFIX.size + length]
        yield message


class Conversation:
    """A call of ours, message by message; it is to be closed.  ``limit_bytes``: of all that it may be told."""

    def __init__(self, link: Link, path: str, metadata: Fields = (), *, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._data = bytearray()
        self._heads: list[Fields] = []
        self._over: HyperError | None = None
        self._news = asyncio.Event()
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            *metadata,
        ]
        self._out = link.open(fields, self)

    def send(self, message: bytes) -> None:
        self._out.data(framed(message), lambda: None)

    def finish(self) -> None:
        """No more is sent."""
        self._out.end()

    async def receive(self) -> bytes | None:
        """The next message, None at the end; Conflict where that is an error."""
        while True:
            for message in messages(self._data):
                return message
            if self._over is not None:
                raise self._over
            if self._heads and value_of(self._heads[-1], b"grpc-status"):
                return self._end_of(self._heads[-1])
            self._news.clear()
            await self._news.wait()

    @staticmethod
    def _end_of(fields: Fields) -> None:
        if (status := value_of(fields, b"grpc-status")) != "0":
            raise Conflict(f"gRPC status {status[:10]}: {value_of(fields, b'grpc-message')[:200]}")

    def close(self) -> None:
        self._out.reset(ErrorCodes.CANCEL)

    # As a sink

    def headers(self, fields: Fields, *, ended: bool) -> None:
        self._heads.append(fields)
        if ended:
            self.end()
        self._news.set()

    def data(self, data: bytes, taken: Taken) -> None:
        taken()
        self._left -= len(data)
        if self._left < 0:
            self._over = Conflict("gRPC: the peer says too much")
            self.close()
        else:
            self._data += data
        self._news.set()

    def end(self) -> None:
        if not (self._heads and value_of(self._heads[-1], b"grpc-status")):
            self._over = Conflict("gRPC: an answer without a status")
        self._news.set()

    def reset(self, code: int) -> None:
        self._over = self._over or Reset(code)
        self._news.set()
