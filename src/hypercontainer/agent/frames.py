"""Bytes <-> frames, without I/O.

``FrameReader`` takes what came from the pipe and gives whole frames.  It begins by hunting for the SYNC mark that
is followed by this session's greeting: what lies before belongs to sessions that were cut.  From there on every
byte must be part of a legal frame, or AgentProtocolError.  It holds one buffer of fixed size.

``MessageReader`` joins the frames of one message.  ``frame`` and ``message`` write.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypercontainer.agent.wire import (
    CREDIT,
    FRAME_HEADER,
    FRAME_MAX,
    FRAME_TRAILER,
    GREETING,
    HEADER,
    MESSAGE_MAX,
    PADDING,
    PING_MAX,
    SYNC,
    SYNC_BYTES,
    TRAILER,
    VERSION,
    Flag,
    Frame,
)
from hypercontainer.errors import AgentProtocolError

# What may lie in the pipe from sessions before this one; more than that is a guest that never greets.
HUNT_MAX_BYTES = 8 * 1024 * 1024
# Room for one frame that has begun, and for as much again to be read at once.
BUFFER_BYTES = 4 * FRAME_MAX
READ_BYTES = 2 * FRAME_MAX

MESSAGES = frozenset({Frame.HELLO, Frame.WELCOME, Frame.REQUEST, Frame.RESPONSE, Frame.EVENT})
_COMMON = frozenset({Frame.DATA, Frame.EOF, Frame.CREDIT, Frame.RESET, Frame.PING, Frame.PONG})
FROM_GUEST = _COMMON | {Frame.WELCOME, Frame.RESPONSE, Frame.EVENT}
FROM_HOST = _COMMON | {Frame.HELLO, Frame.REQUEST}
# (least, most) bytes of payload
_LENGTHS: dict[int, tuple[int, int]] = {
    Frame.DATA: (1, FRAME_MAX),
    Frame.EOF: (0, 0),
    Frame.RESET: (0, 0),
    Frame.CREDIT: (CREDIT.size, CREDIT.size),
    Frame.PING: (0, PING_MAX),
    Frame.PONG: (0, PING_MAX),
}


class Received(NamedTuple):
    type: Frame
    flags: int
    stream: int
    payload: bytes


class FrameReader:
    """Frames of one direction of the pipe.

    ``session``: the one that counts; 0 takes whichever the next greeting names (the guest's side).
    ``greeting``: the frame type that begins a session in this direction; ``legal``: what may come in it.
    """

    def __init__(self, session: int, greeting: Frame, legal: frozenset[Frame]) -> None:
        self._wanted = session
        self._greeting = greeting
        self._legal = {int(kind): kind for kind in legal}
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._hunted = 0
        self.session = 0  # 0 while hunting

    def writable(self) -> memoryview:
        """Where to put the next bytes: at least READ_BYTES.  Only after ``frames`` has given all it had."""
        if BUFFER_BYTES - self._end < READ_BYTES:
            held = self._end - self._start
            self._view[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held
        return self._view[self._end :]

    def advance(self, count: int) -> None:
        """``count`` bytes have been put into what ``writable`` gave."""
        self._end += count

    def feed(self, data: bytes) -> Iterator[Received]:
        """Every frame that is complete with ``data``."""
        rest = memoryview(data)
        while True:
            while (received := self.next_frame()) is not None:
                yield received
            if not rest:
                return
            room = self.writable()
            part, rest = rest[: len(room)], rest[len(room) :]
            room[: len(part)] = part
            self.advance(len(part))

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and waits for the rest of its bytes."""
        return self.session != 0 and self._end > self._start

    def hunt(self) -> None:
        """Give up the session; go on at the next SYNC mark."""
        self.session = 0

    def next_frame(self) -> Received | None:
        """The next whole frame, or None until more bytes are there."""
        if not self.session and not self._find_greeting():
            return None
        have = self._end - self._start
        if have < FRAME_HEADER:
            return None
        length, number, flags, stream, session = HEADER.unpack_from(self._buffer, self._start)
        kind = self._check(length, number, flags, stream, session)
        if have < FRAME_HEADER + length + FRAME_TRAILER:
            return None
        body = self._start + FRAME_HEADER
        if TRAILER.unpack_from(self._buffer, body + length)[0] != self.session:
            raise AgentProtocolError(f"a {kind.name} frame of {length} bytes does not end where it says")
        self._start = body + length + FRAME_TRAILER
        return Received(kind, flags, stream, bytes(self._view[body : body + length]))

    def _check(self, length: int, number: int, flags: int, stream: int, session: int) -> Frame:
        kind = self._legal.get(number)
        if session != self.session or kind is None:
            raise AgentProtocolError(f"no frame of this session: type {number}, session {session:#x}")
        least, most = _LENGTHS.get(kind, (0, FRAME_MAX))
        if not least <= length <= most:
            raise AgentProtocolError(f"a {kind.name} frame of {length} bytes")
        if kind in MESSAGES:
            wrong = stream or flags & ~Flag.MORE or (flags and not length)
        else:
            wrong = flags or (stream and kind in (Frame.PING, Frame.PONG))
        if wrong:
            raise AgentProtocolError(f"a {kind.name} frame with stream {stream}, flags {flags:#x}")
        return kind

    def _find_greeting(self) -> bool:
        begin = self._start
        while True:
            at = self._buffer.find(SYNC, self._start, self._end)
            self._start = max(self._start, self._end - SYNC_BYTES + 1) if at < 0 else at
            whole = at >= 0 and self._end - at >= SYNC_BYTES + FRAME_HEADER
            if whole and self._greets(at + SYNC_BYTES):
                self._start = at + SYNC_BYTES
                return True
            self._start += whole  # a greeting of another session: look on behind the mark's first byte
            if not whole:
                break
        self._hunted += self._start - begin
        if self._wanted and self._hunted > HUNT_MAX_BYTES:
            raise AgentProtocolError(f"no greeting in {self._hunted} bytes")
        return False

    def _greets(self, at: int) -> bool:
        length, kind, _, stream, session = HEADER.unpack_from(self._buffer, at)
        if kind != self._greeting or stream or length > FRAME_MAX or session == 0:
            return False
        if self._wanted and session != self._wanted:
            return False
        self.session = session
        return True


class MessageReader:
    """Joins the frames of a message, at most MESSAGE_MAX bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._type = Frame.HELLO

    def add(self, received: Received) -> bytes | None:
        """The whole message, or None while more of it is to come."""
        if self._parts and received.type != self._type:
            raise AgentProtocolError(f"a {received.type.name} frame within a message of {self._type.name}")
        self._type = received.type
        self._size += len(received.payload)
        if self._size > MESSAGE_MAX:
            raise AgentProtocolError(f"a {received.type.name} message of more than {MESSAGE_MAX} bytes")
        if received.flags & Flag.MORE:
            self._parts.append(received.payload)
            return None
        if not self._parts:
            self._size = 0
            return received.payload
        whole = b"".join([*self._parts, received.payload])
        self._parts, self._size = [], 0
        return whole


def frame(
    session: int, kind: Frame, stream: int = 0, payload: bytes | memoryview = b"", flags: int = 0
) -> bytes:
    """One frame; ``payload`` of at most FRAME_MAX bytes."""
    return b"".join((HEADER.pack(len(payload), kind, flags, stream, session), payload, TRAILER.pack(session)))


def message(session: int, kind: Frame, payload: bytes) -> bytes:
    """One message, in as many frames as it needs."""
    if len(payload) <= FRAME_MAX:
        return frame(session, kind, 0, payload)
    view, last = memoryview(payload), (len(payload) - 1) // FRAME_MAX
    return b"".join(
        frame(session, kind, 0, view[i * FRAME_MAX : (i + 1) * FRAME_MAX], Flag.MORE if i < last else 0)
        for i in range(last + 1)
    )


def greeting(session: int, kind: Frame, fields: bytes = b"", *, padded: bool = False) -> bytes:
    """SYNC and HELLO, or SYNC and WELCOME; padded where a frame of another session may have been cut."""
    mark = bytes(PADDING) + SYNC if padded else SYNC
    return mark + message(session, kind, GREETING.pack(VERSION, session) + fields)
