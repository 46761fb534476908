"""Processes that serve a VM: found by its record, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from typing import Protocol

from hypercontainer.hypervisor.driver import Helper, VMRecord
from hypercontainer.linux.process import Identity, Process

# A VM whose helper has ended may be ending itself; this is how long it has to do so.
ENDING_S = 2.0
# And so long one of a disk may take to end by itself: its server may have gone, too.
PARTING_S = 3.0
DISK = "disk"  # begins what these are called


class Served(Protocol):
    """One that waits at its gate."""

    @property
    def helper(self) -> Helper: ...

    @property
    def process(self) -> Process: ...

    def open_gate(self) -> None: ...


def held(record: VMRecord) -> list[Process | None]:
    """A VM's helpers; None for one that is gone."""
    identities = [Identity(one.pid, one.start_ticks, record.boot_id) for one in record.helpers]
    return [Process.open(identity) for identity in identities]


def own(record: VMRecord) -> Process | None:
    """The VM's own process; None where it is gone, or is none."""
    return Process.open(record.identity) if record.identity is not None else None


def taken_up(record: VMRecord) -> list[Process] | None:
    """The VM's own process, and its helpers in order; None, and nothing is held, where one of them is gone."""
    found = [own(record), *held(record)]
    there = [one for one in found if one is not None]
    if len(there) == len(found):
        return there
    for one in there:
        one.close()
    return None


async def ends(process: Process) -> bool:
    """Whether one that cannot be reached is about to end: its sockets go before it does."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDING_S):
            await process.wait()
    return process.ended()


async def end(process: Process) -> None:
    try:
        process.kill()
        await process.wait()
    finally:
        process.close()


async def end_all(record: VMRecord) -> None:
    found = [(one, process) for one, process in zip(record.helpers, held(record), strict=True) if process]
    try:
        await end_serving(found)
    finally:
        for _, process in found:
            process.close()


async def end_serving(serving: Sequence[tuple[Helper, Process]]) -> None:
    """Of a VM that has ended; they are not let go of.  Those of disks are asked to end: a server would keep for some
    time what a client has that went without a word."""
    for helper, process in serving:
        process.kill(signal.SIGTERM if helper.name.startswith(DISK) else signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PARTING_S):
            for _, process in serving:
                await process.wait()
    for _, process in serving:
        process.kill()
        await process.wait()
