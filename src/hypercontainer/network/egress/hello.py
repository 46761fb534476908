"""A TLS client's first message: to whom it speaks (RFC 8446, section 4.1.2; RFC 6066, section 3).

Bytes in, a value out.  Nothing is taken that a server could read in another way: a name that comes twice, lengths that
do not meet, a message longer than any client's.
"""

from __future__ import annotations

from dataclasses import dataclass

HELLO_MAX = 1 << 16  # bytes, of all its records; with keys of post-quantum exchanges it is 2 KiB
HANDSHAKE, CLIENT_HELLO = 22, 1
_RECORD_HEAD, _RECORD_MAX, _RECORDS_MAX = 5, 1 << 14, 64
_SERVER_NAME, _HOST_NAME = 0, 0


class NotTls(ValueError):
    """These bytes are no client's hello."""


@dataclass(frozen=True)
class Hello:
    """``server_name``: as it was sent; "" where there was none."""

    server_name: str


def parse(data: bytes) -> Hello | None:
    """Of all that has come so far; None where more has to come.  Raises ``NotTls``."""
    message = _message(data)
    return None if message is None else Hello(_server_name(_Bytes(message)))


def _message(data: bytes) -> bytes | None:
    """The handshake message, without its head, put together from its records."""
    found, at = b"", 0
    for _ in range(_RECORDS_MAX):
        head = data[at : at + _RECORD_HEAD]
        if head[:1] not in (b"", bytes([HANDSHAKE])) or head[1:2] not in (b"", b"\x03"):
            raise NotTls("no handshake")
        if len(head) < _RECORD_HEAD:
            return None
        size = int.from_bytes(head[3:5])
        if not 0 < size <= _RECORD_MAX:
            raise NotTls("a record of no size, or of too much")
        found += data[at + _RECORD_HEAD : at + _RECORD_HEAD + size]
        if found[:1] not in (b"", bytes([CLIENT_HELLO])):
            raise NotTls("no client's hello")
        wanted = 4 + int.from_bytes(found[1:4]) if len(found) >= 4 else 4
        if wanted > HELLO_MAX:
            raise NotTls("a hello that is too long")
        if len(data) < at + _RECORD_HEAD + size:
            return None
        if len(found) >= wanted > 4:
            if len(found) > wanted:
                raise NotTls("more than a hello")
            return found[4:]
        at += _RECORD_HEAD + size
    raise NotTls("a hello in too many records")


def _server_name(body: _Bytes) -> str:
    body.take(2 + 32)  # version, random
    body.vector(1)  # session
    body.vector(2)  # ciphers
    body.vector(1)  # compression
    if body.empty:
        return ""
    extensions, found = _Bytes(body.vector(2)), ""
    body.end()
    seen = set()
    while not extensions.empty:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise NotTls("an extension that comes twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            found = _host_name(_Bytes(content))
    return found


def _host_name(content: _Bytes) -> str:
    names = _Bytes(content.vector(2))
    content.end()
    kind, name = names.number(1), names.vector(2)
    names.end()
    if kind != _HOST_NAME or not name or not name.isascii():
        raise NotTls("no host's name")
    return name.decode()


class _Bytes:
    """What is read from the front of."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise NotTls("a length that is too much")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))

    def end(self) -> None:
        if not self.empty:
            raise NotTls("more than there should be")
