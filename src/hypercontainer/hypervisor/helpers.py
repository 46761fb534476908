"""Processes that serve a VM: found by its record, ended with it."""

from __future__ import annotations

from typing import Protocol

from hypercontainer.hypervisor.driver import Helper, VMRecord
from hypercontainer.linux.process import Identity, Process

# A VM whose helper has ended may be ending itself; this is how long it has to do so.
ENDING_S = 2.0


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


def taken_up(record: VMRecord) -> list[Process] | None:
    """The VM's own process, and its helpers in order; None, and nothing is held, where one of them is gone."""
    found = [Process.open(record.identity), *held(record)]
    there = [one for one in found if one is not None]
    if len(there) == len(found):
        return there
    for one in there:
        one.close()
    return None


async def end(process: Process) -> None:
    try:
        process.kill()
        await process.wait()
    finally:
        process.close()


async def end_all(record: VMRecord) -> None:
    for process in held(record):
        if process is not None:
            await end(process)
