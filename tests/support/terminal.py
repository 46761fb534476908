"""A terminal whose user is the test: types, resizes the window, and reads what is shown, with a deadline."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from typing import Any

DEADLINE_S = 60.0


class Terminal:
    """``fd`` is the side that programs have; what they write is kept until ``read_until`` has passed it."""

    def __init__(self, rows: int = 24, columns: int = 80) -> None:
        self.user, self.fd = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.fd)
        self._unread = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.user, keys)

    def read_until(self, wanted: bytes, deadline_s: float = DEADLINE_S) -> bytes:
        """Everything shown up to and with ``wanted``, since the last call."""
        limit = time.monotonic() + deadline_s
        while wanted not in self._unread:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self.user], [], [], left)[0]:
                raise AssertionError(f"{wanted!r} was not shown, but {self._unread!r}")
            self._unread += os.read(self.user, 65536)
        seen, found, self._unread = self._unread.partition(wanted)
        return seen + found

    @property
    def raw(self) -> bool:
        flags = termios.tcgetattr(self.fd)
        return not flags[3] & (termios.ICANON | termios.ECHO | termios.ISIG) and not flags[1] & termios.OPOST

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.fd) == self.before

    def options(self) -> dict[str, Any]:
        """For Popen: the terminal as the program's controlling one, as a shell would start it."""
        return {
            "stdin": self.fd,
            "stdout": self.fd,
            "stderr": self.fd,
            "start_new_session": True,
            "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        }

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.user)


@contextlib.contextmanager
def on_terminal(
    argv: list[str], environment: Mapping[str, str], rows: int = 24, columns: int = 80
) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """A program on a new terminal; killed at the end if it still runs."""
    terminal = Terminal(rows, columns)
    try:
        process = subprocess.Popen(argv, env=environment, **terminal.options())
        try:
            yield terminal, process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    finally:
        terminal.close()
