"""A host without room for what a guest writes: its kernel waits with it, and says so: "f" for full, "r" for room."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

FULL, ROOM = b"f", b"r"
# Who owns its kernel may say so as often as it likes; it is heard so often.
PAUSE_S = 0.25
_READ_BYTES = 4096

log = logging.getLogger(__name__)


class Stall:
    """Owns the end of the pipe at ``path`` that it reads; a kernel that waits says so every few seconds anew."""

    def __init__(self, path: Path) -> None:
        """Raises ``OSError``."""
        self.stands_still = False
        self._unheard = True  # of its end alone there may be word, where another has heard of its beginning
        self._path = path
        self._told: Callable[[bool], None] = lambda full: None
        self._loop = asyncio.get_running_loop()
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._timer: asyncio.TimerHandle | None = None
        self._listen()

    def tell(self, told: Callable[[bool], None]) -> None:
        """See ``VM.on_stall``."""
        self._told = told
        if self.stands_still:
            told(True)

    def _listen(self) -> None:
        self._timer = None
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            said = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return  # another who holds the VM has heard it
        self._loop.remove_reader(self._fd)
        if not said:
            return  # it has ended
        self._timer = self._loop.call_later(PAUSE_S, self._listen)
        if FULL in said and not self.stands_still:
            self._tell(True)
        if said.endswith(ROOM) and (self.stands_still or self._unheard):
            self._tell(False)
        self._unheard = False

    def _tell(self, full: bool) -> None:
        self.stands_still = full
        what = "No space left on device: it waits for room" if full else "it has found room, and goes on"
        log.warning("VM in %s: %s", self._path.parent, what)
        self._told(full)

    def close(self) -> None:
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        if self._timer is not None:
            self._timer.cancel()
        os.close(self._fd)
        self._fd = -1
