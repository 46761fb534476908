"""The frames of a line that loses bytes (docs/wire-protocol.md): bytes in, frames out, no I/O.

``tools/make_wire.py`` makes the guest's side of the numbers here: ``guest/include/hyper_line.h``, with the comments
that stand behind a name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

MAGIC: Final = b"\xf1\x0dHL"  # no text, and nothing that a console says
HEADER_BYTES: Final = 24  # with its own checksum
CHECKSUM_BYTES: Final = 4  # behind a payload: the CRC-32 of Ethernet and zlib
PAYLOAD_MAX: Final = 1024
WINDOW: Final = 32  # frames that may be on their way

# Magic, kind, window, payload's length, session, sequence, acknowledged.
_HEADER: Final = struct.Struct("<4sBBHIII")
_CHECKSUM: Final = struct.Struct("<I")
_FRAME_MAX: Final = HEADER_BYTES + PAYLOAD_MAX + CHECKSUM_BYTES


class Kind(IntEnum):
    OPEN = 1  # from the host: this session begins, any other is over
    OPENED = 2  # from the guest: it has begun
    DATA = 3  # the only one with a payload
    ACK = 4
    AGAIN = 5  # an ACK, and what comes after that is missing
    POLL = 6  # asks for an ACK
    CLOSE = 7  # from the host: the session is over
    RESET = 8  # from the guest: it knows no such session; of session 0: it has begun to listen


_KINDS: Final = frozenset(Kind)


@dataclass(frozen=True)
class Frame:
    """``window``: how many frames from ``acknowledged`` on its sender has room for.  ``sequence`` counts DATA."""

    kind: Kind
    session: int
    sequence: int = 0
    acknowledged: int = 0
    window: int = 0
    payload: bytes = b""
    damaged: bool = False  # its header is right, its payload is not, and is left out

    def encode(self) -> bytes:
        head = _HEADER.pack(
            MAGIC,
            self.kind,
            self.window,
            len(self.payload),
            self.session,
            self.sequence,
            self.acknowledged,
        )
        parts = [head, _CHECKSUM.pack(zlib.crc32(head))]
        if self.payload:
            parts += [self.payload, _CHECKSUM.pack(zlib.crc32(self.payload))]
        return b"".join(parts)


class Reader:
    """Finds frames in whatever comes, and goes on behind what is none.

    ``noise`` is called with the bytes between frames: a console's, where it has the same line.  What may be a part of a
    frame that was hurt is no noise.
    """

    def __init__(self, noise: Callable[[bytes], None] | None = None) -> None:
        self._noise = noise
        self._bytes = bytearray()
        self._needed = 0  # so many bytes, before there can be something new in them
        self._suspect = 0  # bytes that may belong to a frame that was hurt

    def feed(self, data: bytes) -> list[Frame]:
        self._bytes += data
        frames: list[Frame] = []
        if len(self._bytes) < self._needed:
            return frames
        self._needed = 0
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        while self._find_magic():
            if len(self._bytes) < HEADER_BYTES:
                self._needed = HEADER_BYTES
                return None
            head = bytes(self._bytes[: HEADER_BYTES - CHECKSUM_BYTES])
            _, kind, window, length, session, sequence, acknowledged = _HEADER.unpack(head)
            if (
                _CHECKSUM.unpack_from(self._bytes, len(head))[0] != zlib.crc32(head)
                or length > PAYLOAD_MAX
                or (length > 0) is not (kind == Kind.DATA)
                or kind not in _KINDS
            ):
                self._pass_over(1, suspect=_FRAME_MAX)
                continue
            size = HEADER_BYTES + length + (CHECKSUM_BYTES if length else 0)
            if len(self._bytes) < size:
                self._needed = size
                return None
            payload = bytes(self._bytes[HEADER_BYTES : HEADER_BYTES + length])
            damaged = bool(length) and zlib.crc32(payload) != _CHECKSUM.unpack_from(self._bytes, size - 4)[0]
            if damaged:
                payload = b""
                # Bytes were lost or changed: the next frame may begin within this one.
                self._pass_over(HEADER_BYTES, suspect=length + CHECKSUM_BYTES)
            else:
                del self._bytes[:size]
                self._suspect = 0
            return Frame(Kind(kind), session, sequence, acknowledged, window, payload, damaged)
        return None

    def _find_magic(self) -> bool:
        """Whether what is left begins with one; what may be the beginning of one stays."""
        at = self._bytes.find(MAGIC)
        if at < 0:
            kept = next((n for n in (3, 2, 1) if self._bytes.endswith(MAGIC[:n])), 0)
            self._leave(len(self._bytes) - kept)
            return False
        self._leave(at)
        return True

    def _pass_over(self, count: int, *, suspect: int) -> None:
        del self._bytes[:count]
        self._suspect = max(self._suspect, suspect)

    def _leave(self, count: int) -> None:
        if not count:
            return
        left = bytes(self._bytes[min(self._suspect, count) : count])
        self._suspect -= min(self._suspect, count)
        del self._bytes[:count]
        if left and self._noise is not None:
            self._noise(left)
