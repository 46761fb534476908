"""Waiting for a VM's end: the task that does, who waits for it, and what a VM of processes has to be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor import helpers, shares
from hypercontainer.hypervisor.driver import ExitReason, VMExit, VMRecord
from hypercontainer.hypervisor.ending import exit_reason
from hypercontainer.hypervisor.output import Output
from hypercontainer.linux.cgroup import Cgroup
from hypercontainer.linux.process import Process


class Ending:
    """Of one VM.  ``supervise`` returns once it has ended and nothing of it is left."""

    def __init__(self, record: VMRecord, supervise: Coroutine[Any, Any, VMExit]) -> None:
        self._id = record.id
        self._task = asyncio.create_task(supervise, name=f"vm-{record.id}")

    @property
    def known(self) -> VMExit | None:
        """None while the VM runs, and once it was let go of."""
        return self._task.result() if self._task.done() and not self._task.cancelled() else None

    @property
    def over(self) -> bool:
        """It has ended, or was let go of."""
        return self._task.done()

    async def wait(self) -> VMExit:
        await self.wait_for(None)
        if self._task.cancelled():
            raise HypervisorError(f"VM {self._id}: this process has let go of it")
        return self._task.result()

    async def wait_for(self, seconds: float | None) -> None:
        """At most so long.  The task does not end with who waits for it."""
        await asyncio.wait([self._task], timeout=seconds)

    async def let_go(self) -> None:
        """The VM goes on."""
        self._task.cancel()
        await asyncio.wait([self._task])


class Processes:
    """A VM's own process, and the helpers of its record in their order."""

    def __init__(self, record: VMRecord, main: Process, serving: Sequence[Process]) -> None:
        self.main = main
        self._record = record
        self._serving = [*zip(record.helpers, serving, strict=True)]

    async def lost(
        self,
        control: Coroutine[Any, Any, object] | None = None,
        broken: Callable[[], str] = lambda: "",
        patience_s: float = helpers.ENDING_S,
    ) -> str:
        """Returns once the VM is ending: why it was killed, where it, or a helper, was no good any more, or "".

        ``control`` ends with the control connection, where there is one; ``broken`` says what is wrong with that.
        """
        main = asyncio.create_task(self.main.wait())
        others: dict[asyncio.Task[Any], str] = {
            asyncio.create_task(process.wait()): f"the process for {helper.name} had ended"
            for helper, process in self._serving
        }
        if control is not None:
            others[asyncio.create_task(control)] = "it had given up its control connection"
        try:
            await asyncio.wait([main, *others], return_when=asyncio.FIRST_COMPLETED)
            if not broken() and not main.done():  # a VM that ends lets go of these first
                await asyncio.wait([main], timeout=patience_s)
            if main.done():
                return ""
            self.main.kill()
            return broken() or next(why for task, why in others.items() if task.done())
        finally:
            for task in (main, *others):
                task.cancel()

    async def ended(self) -> int | None:
        """The exit status, once none of them is there any more."""
        code = await self.main.wait()
        await helpers.end_serving(self._serving)
        return code

    def exit(
        self, code: int | None, *, killed: bool, said: ExitReason | None, lost: str, output: Output
    ) -> VMExit:
        """What is to be told of the end; ``said``: by the VM itself."""
        reason = exit_reason(killed, said, Cgroup(self._record.cgroups).oom_killed(), code)
        stderr = shares.without_farewells(output.stderr())
        if lost and reason is not ExitReason.HOST_KILL:
            reason, stderr = ExitReason.CRASH, f"{stderr}the VM was ended, since {lost}\n"
        return VMExit(code, reason, stderr, output.console())

    def close(self) -> None:
        for process in (self.main, *(process for _, process in self._serving)):
            process.close()
