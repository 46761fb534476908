"""HTTP/1.1 on a unix socket, one exchange a connection: what the native API needs and no more.

Everything that is read is bounded: the head by MAX_HEAD_BYTES, a whole body by the caller, a line by
MAX_LINE_BYTES.  Source: RFC 9112.
"""

from __future__ import annotations

# The C type under socket.socket: the module `socket` costs a third of a Python start for its enums.
import sys
from _socket import AF_UNIX, SO_SNDTIMEO, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812

from hypercontainer.errors import Unavailable

TYPE_CHECKING = False  # the real one would cost the import of `typing`
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_HEAD_BYTES = 64 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024
RECEIVE_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 10

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class BrokenAnswer(Unavailable):
    """The other side does not speak HTTP as it must, or stopped in the middle."""


def broken_frame(what: str) -> BrokenAnswer:
    """What is said of a hyperd that breaks the rules of the frames."""
    return BrokenAnswer(f"hyperd sent {what}")


def quote(text: str) -> str:
    """Percent-encodes everything that RFC 3986 does not reserve for plain use."""
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if octet in _UNRESERVED else f"%{octet:02X}" for octet in octets)


def target(path: str, query: Mapping[str, object] | None = None) -> str:
    """A request target; a query value may be a list (repeated), None and "" are left out."""
    parts: list[str] = []
    for name, value in (query or {}).items():
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, bool):
                parts.append(f"{name}={'true' if item else 'false'}")
            elif item is not None and item != "":
                parts.append(f"{name}={quote(str(item))}")
    return f"{path}?{'&'.join(parts)}" if parts else path


def connect(path: str) -> Socket:
    """A stream socket connected to ``path``; OSError where nobody listens, TimeoutError where nobody comes to take it.

    A unix socket that may not block is refused where others wait to be taken already (EAGAIN); the kernel waits for a
    place as long as SO_SNDTIMEO says.
    """
    sock = Socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _timeval(CONNECT_TIMEOUT_S))
        try:
            sock.connect(path)
        except BlockingIOError:
            raise TimeoutError(f"too many wait for it, {CONNECT_TIMEOUT_S} s long") from None
        sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, _timeval(0))
        sock.settimeout(CONNECT_TIMEOUT_S)
    except BaseException:
        sock.close()
        raise
    return sock


def _timeval(seconds: int) -> bytes:
    return seconds.to_bytes(8, sys.byteorder) + bytes(8)


def request_head(method: str, request_target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {request_target} HTTP/1.1", "Host: hyperd"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


class Response:
    """An answer whose head has been read.  Owns the socket until ``close`` or ``take_socket``."""

    __slots__ = ("_buffer", "_socket", "headers", "status")

    def __init__(self, sock: Socket) -> None:
        self._socket = sock
        self._buffer = bytearray()
        self.status = 0
        self.headers: dict[str, str] = {}
        while self.status < 200 and self.status != 101:  # other 1xx are announcements
            self._read_head()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise Unavailable(
                "hyperd did not answer in time", hint="hyper doctor says what is wrong; --debug shows more"
            ) from None
        except ConnectionError:
            return b""

    def _read_head(self) -> None:
        searched = 0
        while (end := self._buffer.find(b"\r\n\r\n", searched)) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BrokenAnswer(f"hyperd's answer has a head of more than {MAX_HEAD_BYTES} bytes")
            searched = max(0, len(self._buffer) - 3)
            data = self._receive()
            if not data:
                raise BrokenAnswer("hyperd closed the connection before it answered")
            self._buffer += data
        if end > MAX_HEAD_BYTES:
            raise BrokenAnswer(f"hyperd's answer has a head of more than {MAX_HEAD_BYTES} bytes")
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise BrokenAnswer(f"not an HTTP answer: {lines[0][:80]!r}", hint="is another program listening?")
        self.status = int(rest[:3])
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise BrokenAnswer(f"not an HTTP header: {line[:80]!r}")
            self.headers[name.strip().lower()] = value.strip()

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces as they come."""
        if self.status in (204, 304):
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunked()
        elif "content-length" in self.headers:
            yield from self._exactly(self._length(self.headers["content-length"], 10))
        else:
            yield from self._until_close()

    @staticmethod
    def _length(text: str, base: int) -> int:
        digits = "0123456789abcdef"[:base]
        if not 0 < len(text) <= 16 or any(letter not in digits for letter in text.lower()):
            raise BrokenAnswer(f"not a length: {text[:80]!r}")
        return int(text, base)

    def _until_close(self) -> Iterator[bytes]:
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            yield data
        while data := self._receive():
            yield data

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            if self._buffer:
                data = bytes(self._buffer[:count])
                del self._buffer[: len(data)]
            else:
                data = self._receive()
                if not data:
                    raise BrokenAnswer(f"hyperd closed the connection with {count} bytes to come")
                if len(data) > count:
                    self._buffer += data[count:]
                    data = data[:count]
            count -= len(data)
            yield data

    def _line(self) -> str:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise BrokenAnswer("hyperd's answer has a chunk without a size")
            data = self._receive()
            if not data:
                raise BrokenAnswer("hyperd closed the connection in the middle of its answer")
            self._buffer += data
        line = self._buffer[:end].decode("latin-1")
        del self._buffer[: end + 2]
        return line

    def _chunked(self) -> Iterator[bytes]:
        while size := self._length(self._line().partition(";")[0].strip(), 16):
            yield from self._exactly(size)
            if self._line():
                raise BrokenAnswer("hyperd's answer has a chunk longer than its size")
        while self._line():  # trailers
            pass

    def read(self, limit_bytes: int) -> bytes:
        """The whole body, which may not exceed ``limit_bytes``."""
        body = bytearray()
        for piece in self.chunks():
            body += piece
            if len(body) > limit_bytes:
                raise BrokenAnswer(f"hyperd's answer is longer than {limit_bytes} bytes")
        return bytes(body)

    def lines(self) -> Iterator[bytes]:
        """The body line by line, without the line ends; empty lines are left out."""
        rest = b""
        for piece in self.chunks():
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise BrokenAnswer(f"hyperd sent a line longer than {MAX_LINE_BYTES} bytes")
            yield from filter(None, whole)
        if rest:
            yield rest

    def take_socket(self) -> tuple[Socket, bytes]:
        """Hands the socket over, with what has been read beyond the head (after 101)."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return self._socket, rest

    def close(self) -> None:
        self._socket.close()
