"""Why a VM ended, and what is left of it then."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.driver import VM, ExitReason, VMRecord
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Tap
from hypercontainer.linux import netns
from hypercontainer.linux.cgroup import Cgroup
from hypercontainer.linux.waiting import whole


def exit_reason(killed: bool, said: ExitReason | None, out_of_memory: bool, code: int | None) -> ExitReason:
    """From what was seen: our own kill, what the VM said last, the cgroup's, the exit status."""
    if killed:
        return ExitReason.HOST_KILL
    if said is not None:
        return said
    if out_of_memory:
        return ExitReason.OUT_OF_MEMORY
    return ExitReason.CRASH if code else ExitReason.UNKNOWN


async def destroyed(record: VMRecord) -> None:
    """Ends a VM of processes that nobody holds, and removes what is left; nothing happens where it is gone."""
    if (process := helpers.own(record)) is not None:
        await helpers.end(process)
    await helpers.end_all(record)
    clean(RunDir(record.run_dir), record)


def clean(run: RunDir, record: VMRecord) -> None:
    """Removes what is left of a VM whose process has ended."""
    with contextlib.suppress(OSError):
        Cgroup(record.cgroups).remove()
    drop(record.taps)
    run.remove()


def drop(taps: Iterable[Tap]) -> None:
    """Nothing happens where they are gone."""
    for tap in taps:
        with contextlib.suppress(OSError):
            netns.drop(tap.control, tap.name)


@contextlib.asynccontextmanager
async def killed_on_failure(vm: VM) -> AsyncIterator[None]:
    """A VM that is nobody's yet is ended where what is done within does not come to its end."""
    try:
        yield
    except BaseException:
        await whole(vm.kill())
        raise
