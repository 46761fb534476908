"""What a VM's own log tells: VirtualBox writes each line at once, and that is how one hears of a VM without asking.

``Told`` is pure.  A guest has lines there, too, but not their beginning, which is a time and who speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.virtualbox.places import VirtualBoxRunDir
from hypercontainer.linux import inotify

_TIME = r"^[0-9]{2,}:[0-9]{2}:[0-9]{2}\.[0-9]{6} "
_STATE = re.compile(_TIME + r"Console: Machine state changed to '(\w+)'")
# A first line of each says where in its source.
_FAILED = re.compile(_TIME + r"(?:VMSetError: (?!.*; rc=)|Power up failed )(.*)")
_SHUTDOWN = re.compile(_TIME + r"ACPI: Entering S5 power state")
_RESET = re.compile(_TIME + r"(?:ACPI: )?Reset initiated by ")
# Nobody says so of a processor that gave up, which is a reset, too.
_OFF = re.compile(_TIME + r"Changing the VM state from 'RUNNING' to 'POWERING_OFF'")
_FULL = re.compile(_TIME + r"Console: VM runtime error: .*errorID=DrvVD_DISKFULL")
_FORWARD = re.compile(
    _TIME + r"(?:New port forwarded added:|drvNATNotifyApplyPortForwardCommand: .*(FAIL)).*"
    r"fRemove=0.*u16HostPort=([0-9]+)"
)
_READ_BYTES = 1 << 16
_MAX_LINE_BYTES = 4096
RUNNING, PAUSED, STUCK = "Running", "Paused", "Stuck"
_ORDERED = ("Stopping", "Saving")


@dataclass(frozen=True)
class Told:
    """So far.  ``state`` is VirtualBox's word; ``ended`` why the VM ends, None where nothing said so; ``failed`` its
    words about what went wrong; ``full``: it was paused since the host's disk is full; ``forwards``: by port of
    the host, whether the last rule for it has come to be."""

    state: str = ""
    ran: bool = False
    failed: str = ""
    power_up_failed: bool = False
    ended: ExitReason | None = None
    full: bool = False
    forwards: tuple[tuple[int, bool], ...] = ()

    def line(self, line: str) -> Told:
        """With one more."""
        if found := _STATE.match(line):
            return self._in(found[1])
        if found := _FAILED.match(line):
            # Of a start the first says most; what follows is that what has the part fails, too.
            kept = self.failed if self.failed and not self.ran else found[1]
            return replace(self, failed=kept, power_up_failed=line.endswith("Power up failed " + found[1]))
        if _FULL.match(line):
            return replace(self, full=True)
        if found := _FORWARD.match(line):
            return replace(self, forwards=(*self.forwards[-64:], (int(found[2]), not found[1])))
        return self if self.ended is not None else replace(self, ended=_ending(line))

    def _in(self, state: str) -> Told:
        """One that the guest ends has stopped before it is said to stop: else somebody has told VirtualBox to."""
        ended = ExitReason.CRASH if self.ended is None and state in _ORDERED else self.ended
        return replace(
            self,
            state=state,
            ran=self.ran or state == RUNNING,
            full=self.full and state == PAUSED,
            ended=ended,
        )

    def lines(self, lines: Iterable[str]) -> Told:
        told = self
        for line in lines:
            told = told.line(line)
        return told


def _ending(line: str) -> ExitReason | None:
    if _SHUTDOWN.match(line):
        return ExitReason.GUEST_SHUTDOWN
    if _RESET.match(line) or _OFF.match(line):
        return ExitReason.GUEST_RESET
    return None


class Log:
    """Follows a VM's log, and what is made in its run directory; owns what watches them."""

    def __init__(self, run: VirtualBoxRunDir) -> None:
        """Raises ``OSError``.  The log need not be there yet; its folder must."""
        self.told = Told()
        self._run = run
        self._at = 0
        self._rest = b""
        self._changed: Callable[[], None] = lambda: None
        self._waiting: list[asyncio.Event] = []
        self._fd = inotify.watch({run.path, run.logs}, made=True, grown=True)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._read)
        self.catch_up()

    def on_change(self, changed: Callable[[], None]) -> None:
        """Called whenever there is more, and once now."""
        self._changed = changed
        changed()

    async def until(self, true: Callable[[], bool]) -> None:
        """Returns once it is, which is looked at whenever something is written, or made."""
        changed = asyncio.Event()
        self._waiting.append(changed)
        try:
            while not true():
                changed.clear()
                await changed.wait()
        finally:
            self._waiting.remove(changed)

    def catch_up(self) -> None:
        """Reads on to the end."""
        with contextlib.suppress(OSError), open(self._run.log, "rb") as file:
            file.seek(self._at)
            while data := file.read(_READ_BYTES):
                self._at += len(data)
                *lines, rest = (self._rest + data).split(b"\n")
                self._rest = rest[-_MAX_LINE_BYTES:]
                self.told = self.told.lines(line[:_MAX_LINE_BYTES].decode(errors="replace") for line in lines)

    def _read(self) -> None:
        inotify.forget(self._fd)
        self.catch_up()
        self._changed()
        for event in self._waiting:
            event.set()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
