"""A socket that is read while there is something, and left alone for a while where the system has no room."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

PAUSE_S = 1.0

log = logging.getLogger(__name__)


class Taking:
    """``take`` is called when ``sock`` has something, and again until it has not; what it takes at once is bounded, so
    that others have their turn.  OSError of it begins a pause.  Owns ``sock``."""

    def __init__(self, sock: socket.socket, take: Callable[[socket.socket], None]) -> None:
        self._sock = sock
        self._take = take
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._go_on()

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._ready)

    def _ready(self) -> None:
        try:
            self._take(self._sock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            log.warning("a socket of names rests for %g s: %s", PAUSE_S, error)
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(PAUSE_S, self._go_on)
