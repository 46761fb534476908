"""The frames of attach, run, exec and logs (docs/api.md, "Frames"), without any input or output."""

from __future__ import annotations

from hypercontainer.client.http import BrokenAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN, STDOUT, STDERR, CONTROL, CREDIT = range(5)
HEADER_BYTES = 8
MAX_PAYLOAD_BYTES = 65536
WINDOW_BYTES = 262144


def header(channel: int, length: int) -> bytes:
    return bytes((channel, 0, 0, 0)) + length.to_bytes(4, "big")


def frame(channel: int, payload: bytes) -> bytes:
    return header(channel, len(payload)) + payload


def credit(channel: int, count: int) -> bytes:
    """``count`` bytes of ``channel`` have been done with."""
    return header(CREDIT, HEADER_BYTES) + header(channel, count)


def read_credit(payload: memoryview) -> tuple[int, int]:
    """(channel, bytes)."""
    if len(payload) != HEADER_BYTES:
        raise BrokenAnswer(f"hyperd sent a credit frame of {len(payload)} bytes")
    return payload[0], int.from_bytes(payload[4:8], "big")


class FrameReader:
    """Cuts a byte stream into frames.  At most one frame's worth of bytes is kept between two calls."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """(channel, payload) for every whole frame; a payload is good until the next call."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        view = memoryview(data)
        at, size = 0, len(view)
        while size - at >= HEADER_BYTES:
            length = int.from_bytes(view[at + 4 : at + 8], "big")
            if view[at] > CREDIT or any(view[at + 1 : at + 4]) or length > MAX_PAYLOAD_BYTES:
                raise BrokenAnswer(f"not a frame: {bytes(view[at : at + 8]).hex()}")
            end = at + HEADER_BYTES + length
            if end > size:
                break
            yield view[at], view[at + HEADER_BYTES : end]
            at = end
        self._rest = bytes(view[at:])

    @property
    def clean(self) -> bool:
        """The stream may end here: no frame has begun."""
        return not self._rest
