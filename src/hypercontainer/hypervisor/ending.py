"""Why a VM ended, and what is left of it then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.linux.cgroup import Cgroup


def exit_reason(killed: bool, said: ExitReason | None, out_of_memory: bool, code: int | None) -> ExitReason:
    """From what was seen: our own kill, what the VM said last, the cgroup's, the exit status."""
    if killed:
        return ExitReason.HOST_KILL
    if said is not None:
        return said
    if out_of_memory:
        return ExitReason.OUT_OF_MEMORY
    return ExitReason.CRASH if code else ExitReason.UNKNOWN


def clean(run: RunDir, cgroup: Cgroup) -> None:
    """Removes what is left of a VM whose process has ended."""
    with contextlib.suppress(OSError):
        cgroup.remove()
    run.remove()


@contextlib.asynccontextmanager
async def killed_on_failure(vm: VM) -> AsyncIterator[None]:
    """A VM that is nobody's yet is ended where what is done within does not come to its end."""
    try:
        yield
    except BaseException:
        await asyncio.shield(vm.kill())
        raise
