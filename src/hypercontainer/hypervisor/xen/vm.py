"""One running domain of Xen, held by this process: a connection with Xen's store, the agent's line, its console.

A supervising task waits for its end, asks why, destroys what Xen has kept of it, removes what is left, and resolves
``wait`` for everybody.  ``close`` ends the task without ending the VM.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor import helpers, nics, shares
from hypercontainer.hypervisor.agent_port import Pair
from hypercontainer.hypervisor.driver import ExitReason, VMExit, VMRecord, VMStats
from hypercontainer.hypervisor.held_vm import HeldVM
from hypercontainer.hypervisor.line_pipe import LinePipe
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.plain import PlainVM
from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.supervision import Ending
from hypercontainer.hypervisor.xen import devices, domains, vifs, xl
from hypercontainer.hypervisor.xen.places import XenRunDir
from hypercontainer.hypervisor.xen.ring import Channel, Line
from hypercontainer.hypervisor.xen.store import RELEASED, Store
from hypercontainer.linux.process import Process

MIB = 1 << 20
DESTROYED = "its domain was destroyed by somebody else\n"


class XenVM(HeldVM, PlainVM):
    """See ``hypercontainer.hypervisor.driver.VM``."""

    def __init__(
        self,
        record: VMRecord,
        domain: int,
        store: Store,
        listing: xl.Listing,
        output: Output,
        resolver: Resolver,
        serving: Sequence[Process] = (),
    ) -> None:
        """Owns ``store`` and ``output``; ``serving`` are the record's helpers."""
        super().__init__(record)
        self.domain = domain
        self._store = store
        self._listing = listing
        self.output = output
        self._serving = [*zip(record.helpers, serving, strict=True)]
        self._run = XenRunDir(record.run_dir)
        self._resolver = resolver
        resolver.follow(self._run)
        self._line = Line()
        self._pipe: LinePipe | None = None
        self._killed = False
        self._attaching = asyncio.create_task(self._attach(), name=f"line-{record.id}")
        self._ending = Ending(record, self._supervise())

    @property
    def pid(self) -> int:
        return 0

    # ------------------------------------------------------------------------------------- the agent

    async def _reach_agent(self) -> Pair:
        try:
            if self._ending.over:
                raise OSError(None, "it has ended")
            await self._part_from_pipe()
            raw = await asyncio.open_unix_connection(sock=self._line.connect())
            self._pipe, reader, writer = await LinePipe.open(*raw)
            return reader, writer
        except OSError as error:
            raise HypervisorError(
                f"VM {self.record.id}: cannot reach its agent port: {error.strerror}"
            ) from error

    async def _part_from_pipe(self) -> None:
        if self._pipe is not None:
            await self._pipe.close()
            self._pipe = None

    async def _attach(self) -> None:
        """Once the guest has offered its side of the line, which its kernel does when it starts its drivers."""
        line = devices.line(self.domain)
        with contextlib.suppress(HypervisorError, OSError):
            async with self._store.watching(f"{line.front_path}/{devices.STATE}") as event:
                offered = {devices.INITIALISED, devices.CONNECTED}
                while await self._store.read(f"{line.front_path}/{devices.STATE}") not in offered:
                    await event.wait()
                    event.clear()
            reference = await self._store.read(f"{line.front_path}/ring-ref") or ""
            port = await self._store.read(f"{line.front_path}/port") or ""
            if reference.isdecimal() and port.isdecimal():
                self._line.attach(Channel(self.domain, int(reference) & 0xFFFFFFFF, int(port) & 0xFFFFFFFF))
                await self._store.write(f"{line.back_path}/{devices.STATE}", devices.CONNECTED)

    # ------------------------------------------------------------------------------------- what can be done to it

    async def pause(self) -> None:
        await self._told("pause")

    async def resume(self) -> None:
        await self._told("unpause")

    async def _told(self, verb: str) -> None:
        self._check_held()
        await xl.do(verb, str(self.domain))

    async def paused(self) -> bool:
        return (await self._found()).paused

    async def stats(self) -> VMStats:
        found = await self._found()
        return VMStats(round(found.cpu_seconds * 1e9), found.memory_mib * MIB)

    async def _found(self) -> xl.Domain:
        found = await self._listing.find(self.record.foreign[domains.UUID])
        if found is None:
            raise HypervisorError(f"VM {self.record.id} has ended")
        return found

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.add_forward(self._run, port, nic)

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        await nics.remove_forward(self._run, port, nic)

    def _console(self, max_bytes: int) -> str:
        return self.output.console(max_bytes)

    # ------------------------------------------------------------------------------------- its end

    async def kill(self) -> VMExit:
        if not self._ending.over:
            self._killed = True
            await domains.destroy(self.record.foreign[domains.UUID], self._listing)
        return await self.wait()

    async def close(self) -> None:
        await self._ending.let_go()
        await self._let_go()

    async def _let_go(self) -> None:
        self._attaching.cancel()
        await asyncio.wait([self._attaching])
        self._agent.part()
        await self._part_from_pipe()
        self._line.close()
        self._resolver.leave(self._run)
        self.output.close()
        for _, process in self._serving:
            process.close()
        await self._store.close()

    async def _supervise(self) -> VMExit:
        found, lost = await self._over()
        # A domain whose memory somebody has mapped stays.  Who has a session with its agent hears of the end with all
        # others: before, that would be an agent that is silent.
        self._attaching.cancel()
        await asyncio.wait([self._attaching])
        self._line.detach()
        await domains.remove(self.record, self._store, self._listing, self.domain)
        await helpers.end_serving(self._serving)
        await asyncio.to_thread(vifs.drop_spaces, self._run)
        await self.output.finish()
        reason = ExitReason.CRASH if found is None or found.ending is None else found.ending
        stderr = shares.without_farewells(self.output.stderr())
        if self._killed:
            reason = ExitReason.HOST_KILL
        elif lost:
            stderr = f"{stderr}the VM was ended, since {lost}\n"
        elif found is None:
            stderr += DESTROYED
        ended = VMExit(None, reason, stderr, self.output.console())
        await self._let_go()
        self._run.remove()
        return ended

    async def _over(self) -> tuple[xl.Domain | None, str]:
        """Once the domain has shut down, or is not there any more (None), or is to be ended: why that is."""
        domain = asyncio.create_task(self._shut_down())
        others = {asyncio.create_task(process.wait()): helper.name for helper, process in self._serving}
        try:
            await asyncio.wait([domain, *others], return_when=asyncio.FIRST_COMPLETED)
            if domain.done():
                return domain.result(), ""
            return None, next(
                f"the process for {name} had ended" for task, name in others.items() if task.done()
            )
        finally:
            for task in (domain, *others):
                task.cancel()

    async def _shut_down(self) -> xl.Domain | None:
        async with self._store.watching(RELEASED) as event:
            while True:
                await event.wait()
                event.clear()
                found = await self._listing.find(self.record.foreign[domains.UUID])
                if found is None or found.ending is not None:
                    return found
