"""The frames of connections that are lent to a container (guest/init/lend.h); no input or output here.

 0         1      2      4        8
+---------+------+------+--------+-- ... --+
| channel | kind | zero | number | payload |    number: big-endian; of DATA the length of the payload, which others
+---------+------+------+--------+-- ... --+    have not
"""

from __future__ import annotations

TYPE_CHECKING = False  # the command line loads this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA, CREDIT, GONE = range(3)
HEADER_BYTES = 8
CHANNELS = 64
WINDOW_BYTES = 32768  # under way on one channel, in each direction


def _header(channel: int, kind: int, number: int) -> bytes:
    return bytes((channel, kind, 0, 0)) + number.to_bytes(4, "big")


def data(channel: int, payload: bytes = b"") -> bytes:
    """Without a payload: the end of this direction."""
    return _header(channel, DATA, len(payload)) + payload


def credit(channel: int, count: int) -> bytes:
    """So many bytes of ``channel`` have been done with."""
    return _header(channel, CREDIT, count)


def gone(channel: int) -> bytes:
    return _header(channel, GONE, 0)


class LentReader:
    """Cuts a byte stream into frames.  At most one frame's worth of bytes is kept between two calls."""

    def __init__(self, broken: Callable[[str], Exception]) -> None:
        self._broken = broken
        self._rest = b""

    def feed(self, received: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """(channel, kind, number, payload) of every whole frame; raises ``broken`` at the first that is none."""
        received = self._rest + received
        at, self._rest = 0, b""
        while len(received) - at >= HEADER_BYTES:
            channel, kind, number = (
                received[at],
                received[at + 1],
                int.from_bytes(received[at + 4 : at + 8], "big"),
            )
            if channel >= CHANNELS or kind > GONE or number > WINDOW_BYTES or any(received[at + 2 : at + 4]):
                raise self._broken(f"{received[at : at + HEADER_BYTES].hex()}, which begins no frame")
            end = at + HEADER_BYTES + (number if kind == DATA else 0)
            if end > len(received):
                break
            yield channel, kind, number, received[at + HEADER_BYTES : end]
            at = end
        self._rest = received[at:]
