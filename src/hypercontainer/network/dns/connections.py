"""Connections of guests that ask by TCP (RFC 7766): several questions in one, answered as answers come.

Bounded: how many there are, of one guest and of all; what is taken in and not yet answered; what is answered and not
yet read; the time until a whole question has come, and until an answer has been read.  Who goes beyond is cut off.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from hypercontainer.network.dns.answering import Answering
from hypercontainer.network.dns.fairness import Places
from hypercontainer.network.dns.gate import Gate
from hypercontainer.network.dns.message import HEADER, MAX_QUERY

AT_ONCE = 32  # connections that are taken before others have their turn
MAX_ASKED = 16  # questions of a connection that wait for their answers
MAX_UNREAD = 128 << 10  # bytes; the longest answer has 64 KiB
_READ = 4096


@dataclass(frozen=True)
class TcpLimits:
    connections: int = 256
    connections_each: int = 16
    idle_s: float = 10.0


class Connections:
    """Those of one network; ``places`` are all networks'."""

    def __init__(self, answering: Answering, gate: Gate, places: Places, limits: TcpLimits) -> None:
        self._answering = answering
        self._gate = gate
        self._places = places
        self._limits = limits
        self._open: dict[_Connection, str] = {}

    def take(self, listener: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                sock, (host, *_) = listener.accept()
            except ConnectionAbortedError:
                continue
            asker = host.partition("%")[0]
            if not self._admits(asker):
                sock.close()
                continue
            sock.setblocking(False)
            one = _Connection(sock, asker, self._answering, self._limits.idle_s, self._closed)
            self._open[one] = asker

    def _admits(self, asker: str) -> bool:
        if not self._answering.admits(asker):
            self._gate.shut(asker)
            return False
        return self._places.take((self, asker))

    def close(self) -> None:
        for one in list(self._open):
            one.close()

    def _closed(self, one: _Connection) -> None:
        self._places.leave((self, self._open.pop(one)))


class _Connection:
    """``asked``: questions that wait for an answer.  While there is something unread, or too much was asked, nothing
    more is taken in."""

    def __init__(
        self,
        sock: socket.socket,
        asker: str,
        answering: Answering,
        idle_s: float,
        closed: Callable[[_Connection], None],
    ) -> None:
        self._sock = sock
        self._asker = asker
        self._answering = answering
        self._idle_s = idle_s
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._incoming, self._unread = bytearray(), bytearray()
        self._asked = 0
        self._taking = self._ended = self._over = False
        self._reading = self._writing = False
        self._moved = self._loop.time()
        self._timer = self._loop.call_later(idle_s, self._look)
        self._watch()

    def close(self) -> None:
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._watch()
        self._sock.close()
        self._closed(self)

    def _look(self) -> None:
        """Sees whether anything has moved in time.  Our own time is not theirs."""
        left = self._moved + self._idle_s - self._loop.time()
        if left <= 0 and (self._unread or not self._asked):
            self.close()
        else:
            self._timer = self._loop.call_later(left if left > 0 else self._idle_s, self._look)

    def _watch(self) -> None:
        """Makes the loop look for what can be done now."""
        reading = not (self._over or self._ended or self._unread or self._asked >= MAX_ASKED)
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._loop.add_reader(self._sock, self._read)
            else:
                self._loop.remove_reader(self._sock)
        writing = bool(self._unread) and not self._over
        if writing != self._writing:
            self._writing = writing
            if writing:
                self._loop.add_writer(self._sock, self._write)
            else:
                self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._ended = not data  # it may wait for answers all the same
        self._incoming += data
        self._go_on()

    def _go_on(self) -> None:
        """Takes questions from what came, as far as there is room for their answers."""
        self._taking = True
        while not (self._over or self._unread or self._asked >= MAX_ASKED) and self._take_one():
            pass
        self._taking = False
        if self._ended and not self._asked and not self._unread:
            self.close()
        self._watch()

    def _take_one(self) -> bool:
        length = int.from_bytes(self._incoming[:2], "big")
        if len(self._incoming) < 2:
            return False
        if not HEADER.size <= length <= MAX_QUERY:
            self.close()
            return False
        packet = bytes(self._incoming[2 : 2 + length])
        if len(packet) < length:
            return False
        del self._incoming[: 2 + length]
        self._moved = self._loop.time()
        self._asked += 1
        if not (
            self._answering.admits(self._asker)
            and self._answering.answer(self._asker, packet, stream=True, answered=self._answered)
        ):
            self.close()
        return True

    def _answered(self, answer: bytes) -> None:
        if self._over:
            return
        self._asked -= 1
        if not self._unread:
            self._moved = self._loop.time()
        self._unread += len(answer).to_bytes(2, "big") + answer
        if len(self._unread) > MAX_UNREAD:
            self.close()
            return
        self._write()

    def _write(self) -> None:
        try:
            del self._unread[: self._sock.send(self._unread)]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self.close()
            return
        if not self._unread:
            self._moved = self._loop.time()
        if not self._taking:
            self._go_on()
