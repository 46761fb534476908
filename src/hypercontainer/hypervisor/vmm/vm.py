"""One running Cloud Hypervisor or Firecracker, held by this process: a pidfd, the drain of its console, what it says.

A supervising task waits for its end, gathers why, removes what is left, and resolves ``wait`` for everybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, LaunchError
from hypercontainer.hypervisor import nics
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import VMExit, VMRecord
from hypercontainer.hypervisor.ending import clean
from hypercontainer.hypervisor.later import Later
from hypercontainer.hypervisor.launching import last_line
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainVM
from hypercontainer.hypervisor.process_vm import ProcessVM
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.hypervisor.vmm import vsock
from hypercontainer.hypervisor.vmm.places import VmmRunDir
from hypercontainer.hypervisor.vmm.vmm import Vmm
from hypercontainer.linux.process import Process

# Of a guest that boots, until it listens.
AGENT_TIMEOUT_S = 60.0
DYING_TIMEOUT_S = 5.0


class VmmVM(ProcessVM, PlainVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self,
        record: VMRecord,
        vmm: Vmm,
        process: Process,
        output: Output,
        resolver: Resolver,
        serving: Sequence[Process] = (),
    ) -> None:
        """``serving`` are the record's helpers.  Raises ``OSError``."""
        super().__init__(record, process, output, serving)
        self._vmm = vmm
        self._run = VmmRunDir(record.run_dir)
        self._api = vmm.api(self._run)
        self._watch = vmm.watch(self._run, self._reset)
        self._resolver = resolver
        resolver.follow(self._run)
        self._was_reset = False
        self._later = Later()
        self._ending = Ending(record, self._supervise())

    async def begin(self, spec: VMSpec, taps: Sequence[int]) -> None:
        """Has its guest boot.  Raises ``LaunchError``, and then nothing runs any more."""
        booting = asyncio.create_task(self._vmm.begin(self._api, spec, self._run, taps))
        ending = asyncio.create_task(self._ending.wait_for(None))
        try:
            await asyncio.wait([booting, ending], return_when=asyncio.FIRST_COMPLETED)
            if not booting.done():
                problem = f"{self._vmm.title} ended before it ran the guest"
            elif (error := booting.exception()) is None:
                return
            elif isinstance(error, HypervisorError):
                problem = error.message
                await self._ending.wait_for(0.1)  # it may be ending by itself, and is to say how
            else:
                raise error
        finally:
            for task in (booting, ending):
                task.cancel()
            await asyncio.gather(booting, ending, return_exceptions=True)
        ended = self._ending.known or await self.kill()
        said = last_line(ended.stderr) or last_line(ended.console)
        raise LaunchError(
            f"VM {self.record.name} did not start: {problem}" + (f": {said}" if said else ""),
            exit_code=ended.exit_code,
            stderr=ended.stderr,
            console=ended.console,
        )

    def _reset(self) -> None:
        """The guest may not start anew, which its hypervisor would let it."""
        self._was_reset = True
        self._processes.main.kill()

    async def _reach_agent(self) -> Pair:
        main = self._processes.main
        try:
            if not main.ended() and await self.paused():
                return await self._later.connect(partial(vsock.taken, self._run.connect_agent))
            return await vsock.connect(self._run.connect_agent, main.ended, AGENT_TIMEOUT_S)
        except OSError as error:
            raise HypervisorError(
                f"VM {self.record.id}: cannot reach its agent port: {error.strerror or error}"
            ) from error

    async def pause(self) -> None:
        self._check_held()
        await self._vmm.pause(self._api)

    async def resume(self) -> None:
        self._check_held()
        await self._vmm.resume(self._api)

    async def paused(self) -> bool:
        self._check_held()
        return await self._vmm.paused(self._api)

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.add_forward(self._run, port, nic)

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.remove_forward(self._run, port, nic)

    async def close(self) -> None:
        await self._ending.let_go()
        await self._let_go()

    async def _let_go(self) -> None:
        self._agent.part()
        await self._later.close()
        self._resolver.leave(self._run)
        self._watch.close()
        self.output.close()
        self._processes.close()

    async def _supervise(self) -> VMExit:
        lost = await self._processes.lost()
        code = await self._processes.ended()
        await self.output.finish()
        said = self._watch.said(code, self.output.console())
        if self._was_reset and code is not None:  # the signal was ours, and the end the guest's
            code = 0
        ended = self._processes.exit(code, killed=self._killed, said=said, lost=lost, output=self.output)
        await self._let_go()
        clean(self._run, self.record)
        return ended
