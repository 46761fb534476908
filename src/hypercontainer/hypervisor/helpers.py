"""Processes that serve a VM: found by its record, ended with it."""

from __future__ import annotations

from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.linux.process import Identity, Process

# A VM whose helper has ended may be ending itself; this is how long it has to do so.
ENDING_S = 2.0


def held(record: VMRecord) -> list[Process | None]:
    """A VM's helpers; None for one that is gone."""
    identities = [Identity(one.pid, one.start_ticks, record.boot_id) for one in record.helpers]
    return [Process.open(identity) for identity in identities]


async def end(process: Process) -> None:
    process.kill()
    await process.wait()
    process.close()


async def end_all(record: VMRecord) -> None:
    for process in held(record):
        if process is not None:
            await end(process)
