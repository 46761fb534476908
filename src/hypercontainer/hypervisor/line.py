"""The host's end of a line that loses, changes and invents bytes, made a reliable byte pipe; no I/O and no clock.

A session begins with OPEN, repeated until the guest answers: whoever listens may not have booted yet.  Then each side
numbers its DATA frames and keeps them until they are acknowledged; what is missing is sent again, from there on
(docs/wire-protocol.md has a picture).  The guest's end is ``guest/init/line.c``.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable

from hypercontainer.hypervisor.line_frames import PAYLOAD_MAX, WINDOW, Frame, Kind, Reader

OPEN_EVERY_S = 0.25
RETRY_FIRST_S = 1.0
RETRY_LEAST_S = 0.3
RETRY_MOST_S = 5.0
POLL_AFTER_S = 15.0
_WINDOW_LEAST = 4  # what follows a frame that is lost again tells so at once
_NUMBERS = 1 << 32
_UNSENT_MAX = 16 * PAYLOAD_MAX


class Line:
    """Times are seconds of the caller's clock, which must not go back.

    After any of ``receive``, ``send``, ``take`` and when ``deadline`` has come, ``output`` may have more to write.
    """

    def __init__(self, now: float, noise: Callable[[bytes], None] | None = None) -> None:
        self.session = secrets.randbelow(_NUMBERS - 1) + 1
        self.opened = False
        self.lost = False  # the guest's end knows the session no more: nothing comes or goes any more
        self._reader = Reader(noise)
        self._replies: list[Kind] = []
        self._open_at = now
        self._heard_at = now
        # What goes out: frames that are not acknowledged, and how many of them have been written since the last break.
        self._unsent = bytearray()
        self._flight: deque[bytes] = deque()
        self._written = 0
        self._first = 0
        self._window = WINDOW
        self._room = 0  # the guest's
        self._retry_s = RETRY_FIRST_S
        self._retry_at: float | None = None
        self._timed: tuple[int, float] | None = None  # a frame that was sent once, and when
        # What comes in.
        self._expected = 0
        self._missed = (-1, 0)  # for which AGAIN has been said, and how much too early it was that came last
        self._arrived = bytearray()
        self._told_room = WINDOW

    # -- the user's side

    @property
    def room(self) -> int:
        """How many bytes ``send`` takes now."""
        return max(0, _UNSENT_MAX - len(self._unsent))

    def send(self, data: bytes) -> None:
        self._unsent += data

    def take(self) -> bytes:
        """What has come, in order, each byte once."""
        data = bytes(self._arrived)
        self._arrived.clear()
        if data and self._told_room < WINDOW // 2:
            self._reply(Kind.ACK)  # there is room again
        return data

    # -- the line's side

    def receive(self, data: bytes, now: float) -> bool:
        """Whether there was a frame in it: a serial port brings a few bytes at a time."""
        frames = self._reader.feed(data)
        for frame in frames:
            self._take(frame, now)
        return bool(frames)

    def output(self, now: float) -> bytes:
        """What is to be written now, at most some frames: more may be there once that is written."""
        if self.lost:
            return b""
        if not self.opened:
            return self._open(now)
        self._keep_time(now)
        frames = [self._frame(kind) for kind in dict.fromkeys(self._replies)]
        self._replies.clear()
        while self._written < min(self._window, self._room) and len(frames) < WINDOW:
            if self._written == len(self._flight):
                if not self._unsent:
                    break
                self._flight.append(bytes(self._unsent[:PAYLOAD_MAX]))
                del self._unsent[:PAYLOAD_MAX]
                self._timed = self._timed or ((self._first + self._written) % _NUMBERS, now)
            number = (self._first + self._written) % _NUMBERS
            frames.append(self._frame(Kind.DATA, number, self._flight[self._written]))
            self._written += 1
            if self._retry_at is None:
                self._retry_at = now + self._retry_s
        return b"".join(frames)

    def deadline(self) -> float:
        """When ``output`` has more to say although nothing has come."""
        if not self.opened:
            return self._open_at
        silent = self._heard_at + POLL_AFTER_S
        return silent if self._retry_at is None else min(silent, self._retry_at)

    def close(self) -> bytes:
        """The last that is written."""
        return b"" if self.lost else Frame(Kind.CLOSE, self.session).encode()

    def _open(self, now: float) -> bytes:
        if now < self._open_at:
            return b""
        self._open_at = now + OPEN_EVERY_S
        return Frame(Kind.OPEN, self.session, window=WINDOW).encode()

    def _frame(self, kind: Kind, sequence: int = 0, payload: bytes = b"") -> bytes:
        self._told_room = max(0, WINDOW - -(-len(self._arrived) // PAYLOAD_MAX))
        return Frame(kind, self.session, sequence, self._expected, self._told_room, payload).encode()

    def _reply(self, kind: Kind) -> None:
        self._replies.append(kind)

    # -- time

    def _keep_time(self, now: float) -> None:
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_s = min(2 * self._retry_s, RETRY_MOST_S)
            self._retry_at = None
            self._go_back(_WINDOW_LEAST)
            if not self._room:
                self._poll(now)
        elif now >= self._heard_at + POLL_AFTER_S:
            self._heard_at = now
            self._reply(Kind.POLL)
        if not self._room and self._retry_at is None and (self._unsent or self._flight):
            self._retry_at = now + self._retry_s

    def _poll(self, now: float) -> None:
        self._reply(Kind.POLL)
        self._retry_at = now + self._retry_s

    def _go_back(self, window: int) -> None:
        """To the first that is not acknowledged."""
        self._written = 0
        self._window = window
        self._timed = None

    def _measured(self, seconds: float) -> None:
        wanted = 2 * seconds + 0.1
        self._retry_s = min(max((self._retry_s + wanted) / 2, RETRY_LEAST_S), RETRY_MOST_S)

    # -- what comes

    def _take(self, frame: Frame, now: float) -> None:
        if frame.kind is Kind.RESET:
            if not self.opened:
                self._open_at = now  # it listens now
            elif frame.session in (0, self.session):
                self.lost = True
            return
        if frame.session != self.session or frame.kind in (Kind.OPEN, Kind.CLOSE):
            return
        self._heard_at = now
        if frame.kind is Kind.OPENED:
            if not self.opened:
                self.opened, self._room = True, frame.window
            return
        if not self.opened:
            return
        self._acknowledged(frame, now)
        if frame.kind is Kind.DATA:
            self._data(frame)
        elif frame.kind is Kind.POLL:
            self._reply(Kind.ACK)

    def _acknowledged(self, frame: Frame, now: float) -> None:
        news = (frame.acknowledged - self._first) % _NUMBERS
        if news > len(self._flight):
            return  # an earlier one, or nonsense
        if self._timed and news and (self._timed[0] - self._first) % _NUMBERS < news:
            self._measured(now - self._timed[1])
            self._timed = None
        for _ in range(news):
            self._flight.popleft()
        self._first = frame.acknowledged
        self._written = max(0, self._written - news)
        self._room = min(frame.window, WINDOW)
        self._window = min(self._window + news, WINDOW)
        if news or not self._flight:
            self._retry_at = now + self._retry_s if self._flight else None
        if frame.kind is Kind.AGAIN and self._written:
            self._go_back(max(_WINDOW_LEAST, self._window // 2))

    def _data(self, frame: Frame) -> None:
        ahead = (frame.sequence - self._expected) % _NUMBERS
        room = WINDOW * PAYLOAD_MAX - len(self._arrived)
        if ahead == 0 and not frame.damaged and len(frame.payload) <= room:
            self._arrived += frame.payload
            self._expected = (self._expected + 1) % _NUMBERS
            self._reply(Kind.ACK)
        elif ahead >= WINDOW:
            self._reply(Kind.ACK)  # it has been there: what said so was lost
        else:
            # Once a round: what comes from further back again is the next one, and what was missing is so still.
            missed, early = self._missed
            if missed != self._expected or ahead <= early:
                self._reply(Kind.AGAIN)
            self._missed = (self._expected, ahead)
