"""The frames of attach, run, exec and logs (docs/api.md, "Frames"); no input or output here.

 0         1                  4               8            8+length
+---------+------------------+---------------+-- ... -----+
| channel | zero             | length        | payload    |    length: big-endian, at most MAX_PAYLOAD_BYTES
+---------+------------------+---------------+-- ... -----+

hyperd and its clients read them with the same code; ``broken`` makes the error of each side out of what is wrong.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the command line loads this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Bytes = bytes | bytearray | memoryview
    Broken = Callable[[str], Exception]

STDIN, STDOUT, STDERR, CONTROL, CREDIT = range(5)
HEADER_BYTES = 8
MAX_PAYLOAD_BYTES = 65536
WINDOW_BYTES = 262144  # what a sender may have under way on one channel


def header(channel: int, length: int) -> bytes:
    return bytes((channel, 0, 0, 0)) + length.to_bytes(4, "big")


def frame(channel: int, payload: Bytes = b"") -> bytes:
    """One frame; the payload must fit."""
    assert len(payload) <= MAX_PAYLOAD_BYTES
    return b"".join((header(channel, len(payload)), payload))


def frames(channel: int, payload: Bytes) -> bytes:
    """As many frames as ``payload`` takes; none for an empty one."""
    view = memoryview(payload)
    return b"".join(
        frame(channel, view[start : start + MAX_PAYLOAD_BYTES])
        for start in range(0, len(view), MAX_PAYLOAD_BYTES)
    )


def credit(channel: int, count: int) -> bytes:
    """``count`` bytes of ``channel`` have been done with."""
    return header(CREDIT, HEADER_BYTES) + header(channel, count)


def read_credit(payload: Bytes, broken: Broken) -> tuple[int, int]:
    """(channel, bytes)."""
    if len(payload) != HEADER_BYTES or any(payload[1:4]):
        raise broken(f"credit of {len(payload)} bytes, not a channel, three zero bytes and a 32-bit count")
    return payload[0], int.from_bytes(payload[4:], "big")


class FrameReader:
    """Cuts a byte stream into frames.  At most one frame's worth of bytes is kept between two calls."""

    __slots__ = ("_broken", "_rest")

    def __init__(self, broken: Broken) -> None:
        self._broken = broken
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, memoryview]]:
        """(channel, payload) for every whole frame; raises ``broken`` at the first that is none."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        view = memoryview(data)
        at, size = 0, len(view)
        while size - at >= HEADER_BYTES:
            length = int.from_bytes(view[at + 4 : at + 8], "big")
            if view[at] > CREDIT or any(view[at + 1 : at + 4]) or length > MAX_PAYLOAD_BYTES:
                raise self._broken(f"{bytes(view[at : at + HEADER_BYTES]).hex()}, which begins no frame")
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
