"""The frames of attach, run, exec and logs (docs/api.md, "Frames"); no input or output here.

 0         1                  4               8            8+length
+---------+------------------+---------------+-- ... -----+
| channel | zero             | length        | payload    |    length: big-endian, at most 65536
+---------+------------------+---------------+-- ... -----+
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hypercontainer.errors import InvalidArgument

STDIN, STDOUT, STDERR, CONTROL, CREDIT = range(5)
MAX_PAYLOAD_BYTES = 65536
Bytes = bytes | bytearray | memoryview

WINDOW_BYTES = 262144  # what a sender may have under way on one channel

_HEADER = struct.Struct(">B3xI")
_CREDIT = struct.Struct(">B3xI")


def encode(channel: int, payload: Bytes = b"") -> bytes:
    """One frame; the payload must fit."""
    view = memoryview(payload)
    assert view.nbytes <= MAX_PAYLOAD_BYTES
    return b"".join((_HEADER.pack(channel, view.nbytes), view))


def encode_all(channel: int, payload: Bytes) -> bytes:
    """As many frames as ``payload`` takes; none for an empty one."""
    view = memoryview(payload)
    return b"".join(
        encode(channel, view[start : start + MAX_PAYLOAD_BYTES])
        for start in range(0, len(view), MAX_PAYLOAD_BYTES)
    )


def encode_credit(channel: int, count: int) -> bytes:
    return encode(CREDIT, _CREDIT.pack(channel, count))


def decode_credit(payload: bytes) -> tuple[int, int]:
    """(channel, bytes); raises InvalidArgument."""
    if len(payload) != _CREDIT.size or payload[1:4] != b"\0\0\0":
        raise InvalidArgument("frame: credit is a channel, three zero bytes and a 32-bit count")
    channel, count = _CREDIT.unpack(payload)
    return channel, count


class Decoder:
    """Bytes in, frames out; holds less than one frame between calls."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: Bytes) -> Iterator[tuple[int, bytes]]:
        """(channel, payload) of each frame that ``data`` completes; raises InvalidArgument."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= _HEADER.size:
                channel, length = _HEADER.unpack_from(self._buffer, start)
                if channel > CREDIT or length > MAX_PAYLOAD_BYTES or any(self._buffer[start + 1 : start + 4]):
                    raise InvalidArgument(
                        f"frame: channel {channel} with {length} bytes is none of this protocol"
                    )
                end = start + _HEADER.size + length
                if end > len(self._buffer):
                    return
                payload = bytes(memoryview(self._buffer)[start + _HEADER.size : end])
                start = end
                yield channel, payload
        finally:
            del self._buffer[:start]
