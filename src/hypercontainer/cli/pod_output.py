"""What a pod's containers write, line by line, each behind its container's name."""

from __future__ import annotations

import os
from binascii import Error as NotBase64
from binascii import a2b_base64

from hypercontainer.cli.session import visible
from hypercontainer.client.api import remote_error
from hypercontainer.client.http import BrokenAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

COLOURS = (36, 33, 32, 35, 34, 31)  # cyan, yellow, green, magenta, blue, red
MAX_LINE_BYTES = 64 * 1024  # a line without an end is shown in parts of this size


class PodOutput:
    """``names``: of the containers that are known, for the width of the first column.  ``only``: no others are shown.
    ``bare``: there is one container, and what it writes is shown as it is, at once.

    A line goes out whole, so that those of two containers never mix.
    """

    def __init__(self, names: Iterable[str], *, only: Collection[str] = (), bare: bool = False) -> None:
        self._only = only
        self._bare = bare
        self._width = 0
        self._prefixes: dict[tuple[str, int], bytes] = {}
        self._numbers: dict[str, int] = {}
        self._begun: dict[tuple[str, int], bytearray] = {}
        for name in names:
            if not only or name in only:
                self._width = max(self._width, len(visible(name)))
                self._numbers[name] = len(self._numbers)

    def _prefix(self, name: str, channel: int) -> bytes:
        found = self._prefixes.get((name, channel))
        if found is None:
            number = self._numbers.setdefault(name, len(self._numbers))
            text = f"{visible(name):<{self._width}} |"
            if os.isatty(channel):
                text = f"\x1b[{COLOURS[number % len(COLOURS)]}m{text}\x1b[0m"
            found = self._prefixes[name, channel] = f"{text} ".encode()
        return found

    def take(self, line: Any) -> None:
        """A PodLogLine, or an error."""
        if isinstance(line, dict) and "error" in line:
            raise remote_error(line["error"])
        try:
            name, channel, data = (
                str(line["container"]),
                line["channel"],
                a2b_base64(line["data"], strict_mode=True),
            )
        except (TypeError, KeyError, ValueError, NotBase64):
            raise BrokenAnswer(f"hyperd sent a log line of no known form: {str(line)[:80]}") from None
        if channel not in (1, 2):
            raise BrokenAnswer(f"hyperd sent a log line of a channel {str(channel)[:20]!r}")
        if self._only and name not in self._only:
            return
        if self._bare:
            _write_all(channel, data)
            return
        begun = self._begun.setdefault((name, channel), bytearray())
        begun += data
        end = begun.rfind(b"\n") + 1
        if not end and len(begun) >= MAX_LINE_BYTES:
            begun += b"\n"
            end = len(begun)
        if end:
            whole = bytes(begun[:end])
            del begun[:end]
            self._write(name, channel, whole)

    def close(self) -> None:
        """What has no end of its own gets one."""
        for (name, channel), begun in self._begun.items():
            if begun:
                self._write(name, channel, bytes(begun) + b"\n")
        self._begun.clear()

    def _write(self, name: str, channel: int, lines: bytes) -> None:
        prefix = self._prefix(name, channel)
        _write_all(channel, b"".join(prefix + line + b"\n" for line in lines[:-1].split(b"\n")))


def _write_all(channel: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(channel, left) :]  # the channels' numbers are the descriptors'


def show(lines: Iterable[Any], output: PodOutput) -> None:
    try:
        for line in lines:
            output.take(line)
    finally:
        output.close()
