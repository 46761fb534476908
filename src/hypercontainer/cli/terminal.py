"""The user's terminal: its size, and raw mode that is always taken back."""

from __future__ import annotations

import os
import termios
from contextlib import suppress


def size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal that shows the output; None where there is none or it does not know."""
    for fd in (1, 0, 2):
        try:
            columns, rows = os.get_terminal_size(fd)
        except OSError:
            continue
        return (rows, columns) if rows and columns else None
    return None


class RawTerminal:
    """``fd`` in raw mode between ``enter`` and ``restore``; leaving the context restores.

    Raw as in cfmakeraw(3): every key is a byte for the process, and what it writes is not changed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before: list[int | list[bytes | int]] | None = None

    def enter(self) -> None:
        if self._before is not None:
            return
        self._before = termios.tcgetattr(self._fd)
        iflag, oflag, cflag, lflag, ispeed, ospeed, characters = termios.tcgetattr(self._fd)
        iflag &= ~(
            termios.IGNBRK
            | termios.BRKINT
            | termios.PARMRK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
        )
        oflag &= ~termios.OPOST
        cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        mode = [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]
        termios.tcsetattr(self._fd, termios.TCSANOW, mode)

    def restore(self) -> None:
        if self._before is None:
            return
        before, self._before = self._before, None
        with suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def __enter__(self) -> RawTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()
