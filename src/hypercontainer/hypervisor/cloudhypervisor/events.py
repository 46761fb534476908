"""What a Cloud Hypervisor says of its VM on its event monitor: JSON objects, with blank lines between."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from hypercontainer.hypervisor.driver import ExitReason

# Longer than any that it has; more without an end is forgotten.
MAX_EVENT_BYTES = 1 << 16
_READ_BYTES = 65536


class Event(msgspec.Struct):
    source: str
    event: str

    @property
    def name(self) -> str:
        return f"{self.source}.{self.event}"


class Parser:
    """Bytes in, events out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """Those that are whole by now; what is none is passed over."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        self._rest = self._rest[-MAX_EVENT_BYTES:]
        found = []
        for text in whole:
            with contextlib.suppress(msgspec.MsgspecError, RecursionError):
                found.append(msgspec.json.decode(text, type=Event))
        return found


class Watch:
    """Owns the end of the pipe at ``path`` that it reads: what was said before is there, since the process holds the
    pipe."""

    def __init__(self, path: Path, on_reset: Callable[[], None]) -> None:
        """See ``vmm.vmm.Vmm.watch``."""
        self._parser = Parser()
        self._reason: ExitReason | None = None
        self._on_reset = on_reset
        self._loop = asyncio.get_running_loop()
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        """Once, and then it is others' turn."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._fd, _READ_BYTES)
            if not data:
                self._loop.remove_reader(self._fd)
        for event in self._parser.feed(data):
            if event.name == "vm.rebooting" and self._reason is None:
                self._reason = ExitReason.GUEST_RESET
                self._on_reset()
            elif event.name == "vmm.shutdown" and self._reason is None:
                self._reason = ExitReason.GUEST_SHUTDOWN

    def said(self, code: int | None, console: str) -> ExitReason | None:
        if self._fd >= 0:
            self._read()
        if self._reason is None and code == 0:
            return ExitReason.GUEST_SHUTDOWN
        return self._reason

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
