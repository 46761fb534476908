"""A VM while it runs: the channel to the agent in it, the processes there, its end.

The one owner of both.  ``ended`` is done when the VM is gone, whoever ended it; every process that still ran is lost
then.  A guest that breaks the wire contract costs its VM.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable

from hypercontainer.agent.operations import (
    ContainerOom,
    DiskCorrupted,
    Event,
    GuestLog,
    ProcessExited,
    Welcome,
)
from hypercontainer.agent.session import Agent
from hypercontainer.engine.process.process import Process
from hypercontainer.errors import AgentError, AgentProtocolError, HyperError
from hypercontainer.hypervisor.driver import VM, VMExit
from hypercontainer.linux.waiting import whole

ORDERLY_END_S = 10.0
LAST_WORDS_S = 2.0

log = logging.getLogger(__name__)


class Live:
    """Use ``Live.hold``.  ``on_end`` is called once, when the VM is gone; ``on_oom`` with a container in which
    something was killed for memory; ``on_stall`` as a VM's; ``on_corrupted`` when an image's disk is not what it was,
    as the guest says."""

    def __init__(
        self,
        vm: VM,
        on_oom: Callable[[str], None],
        on_stall: Callable[[bool], None],
        on_corrupted: Callable[[], None],
    ) -> None:
        self.vm = vm
        self.agent: Agent
        self.booted_ns = 0  # by this host's clock, for the guest's times since boot
        self.going = asyncio.Event()  # it does not stand still
        self.going.set()
        self._on_oom = on_oom
        self._on_stall = on_stall
        self._on_corrupted = on_corrupted
        self.stalled = False
        self._processes: dict[int, Process] = {}
        self._watcher: asyncio.Task[VMExit]
        self._wakers = 0
        self._standing = asyncio.Lock()
        self._paused = False
        self.ended_on_purpose = False

    @classmethod
    async def hold(
        cls,
        vm: VM,
        *,
        resumed: bool,
        on_end: Callable[[], None],
        on_oom: Callable[[str], None],
        on_stall: Callable[[bool], None],
        on_corrupted: Callable[[], None],
    ) -> Live:
        made = cls(vm, on_oom, on_stall, on_corrupted)
        reader, writer = await vm.connect_agent()
        made.agent = Agent.open(reader, writer, resumed=resumed, on_event=made._on_event)
        vm.on_stall(made._stall)
        made._watcher = asyncio.create_task(made._watch(on_end), name=f"VM {vm.record.id}")
        return made

    async def greeted(self, timeout_s: float) -> Welcome:
        """What the guest says of itself when the session begins."""
        welcome = await self.agent.welcome(timeout_s)
        self.booted_ns = time.time_ns() - welcome.uptime_ns
        return welcome

    # ------------------------------------------------------------------------------------- standing still

    async def pause(self) -> None:
        """It costs no CPU from now on; nobody is answered."""
        async with self._standing:
            self._paused = True
            try:
                await self._stand_still()
            except HyperError:
                self._paused = False
                with contextlib.suppress(HyperError):  # it may stand still all the same
                    await self._go_on()
                raise

    async def resume(self) -> None:
        async with self._standing:
            self._paused = False
            await self._go_on()

    async def freeze(self, container: str) -> None:
        """That container alone; not at all, where this fails or nobody waits for it any more."""
        try:
            await self.agent.freeze(container, True)
        except BaseException:
            with contextlib.suppress(AgentError):
                self.agent.freeze(container, False)
            raise

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncIterator[None]:
        """Within, a guest that is paused answers: its containers are frozen all the same, each by itself.  One that
        cannot be woken says so by not answering."""
        self._wakers += 1
        try:
            async with self._standing:
                try:
                    await self._go_on()
                except HyperError as error:
                    log.warning("VM %s: %s", self.vm.record.id, error)
            yield
        finally:
            self._wakers -= 1
            await whole(self._rest())

    async def _rest(self) -> None:
        """It stands still again, if it is paused."""
        async with self._standing:
            if self._paused and not self._watcher.done():
                with contextlib.suppress(HyperError):  # it is ending
                    await self._stand_still()

    async def _stand_still(self) -> None:
        if not self._wakers:
            self.going.clear()
            self.agent.excuse(True)
            await self.vm.pause()

    async def _go_on(self) -> None:
        if not self.going.is_set():
            await self.vm.resume()
            self.agent.excuse(False)
            self.going.set()
            with contextlib.suppress(AgentError):  # what it is asked next tells more
                self.agent.set_time(time.time_ns())

    def _stall(self, full: bool) -> None:
        """It stands still by itself while there is no room on the host for what it writes; nothing is to be done."""
        self.stalled = full
        self.agent.excuse(full or not self.going.is_set())
        self._on_stall(full)

    # ------------------------------------------------------------------------------------- its processes

    def add(self, process: Process) -> None:
        self._processes[process.number] = process

    def forget(self, process: Process) -> None:
        self._processes.pop(process.number, None)

    def give_up(self, number: int) -> None:
        """Lets the guest forget an exited process, if there still is a guest."""
        with contextlib.suppress(AgentError):
            self.agent.forget(number)

    @property
    def untouched(self) -> bool:
        """No process was started in it by this hyperd, nor found there."""
        return not self._processes

    def new_process_number(self) -> int:
        """Never one that this VM has seen: init has 1, all others are drawn from 2^29 numbers."""
        while True:
            number = secrets.randbelow(1 << 29) + 2
            if number not in self._processes:
                return number

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ProcessExited):
            process = self._processes.get(event.process)
            if process is not None and not process.ended.done():
                process.ended.set_result(event)
        elif isinstance(event, ContainerOom):
            self._on_oom(event.container)
        elif isinstance(event, DiskCorrupted):
            self._on_corrupted()
        elif isinstance(event, GuestLog):
            log.info("VM %s: guest: %s", self.vm.record.id, event.message)

    # ------------------------------------------------------------------------------------- its end

    async def ended(self) -> VMExit:
        """Waits for it."""
        return await asyncio.shield(self._watcher)

    async def end(self, *, orderly: bool) -> VMExit:
        """Whatever state it is in; orderly: what the guest has written is on its disk first."""
        self.ended_on_purpose = True
        if orderly and not self.stalled and not self._watcher.done():
            with contextlib.suppress(HyperError, TimeoutError):
                async with asyncio.timeout(ORDERLY_END_S):
                    await self.resume()
                    await self.agent.shutdown()
                    return await self.ended()
        await self.vm.kill()
        return await self.ended()

    async def close(self) -> None:
        """Lets go of the VM, which lives on."""
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        self.agent.close()
        self.going.set()
        await self.vm.close()

    async def _watch(self, on_end: Callable[[], None]) -> VMExit:
        gone = asyncio.ensure_future(self.vm.wait())
        silent = asyncio.ensure_future(self.agent.closed())
        try:
            await asyncio.wait({gone, silent}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done() and not isinstance(silent.result(), AgentProtocolError):
                # The channel closes a moment before a VM that powers off is gone; anything else is a broken guest.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(gone), LAST_WORDS_S)
            broken = None if gone.done() else silent.result()
            if broken is not None:
                log.warning("VM %s: %s; it is ended", self.vm.record.id, broken)
                await self.vm.kill()
            vm_exit = await gone
        finally:
            gone.cancel()
            silent.cancel()
        self._lose(AgentError(how_it_ended(vm_exit, broken)))
        self.agent.close()
        self.going.set()
        on_end()
        return vm_exit

    def _lose(self, error: AgentError) -> None:
        for process in tuple(self._processes.values()):
            process.lose(error)
        self._processes.clear()


def how_it_ended(vm_exit: VMExit, broken: AgentError | None) -> str:
    """Of a VM that is gone, for people; ``broken`` is why it was ended, if it was because of its guest."""
    if broken is not None:
        contract = "its guest broke the wire contract: " if isinstance(broken, AgentProtocolError) else ""
        return f"its VM was ended: {contract}{broken.message}"
    last = vm_exit.stderr.strip() or vm_exit.console.strip()
    return f"its VM ended ({vm_exit.reason.value})" + (f": {last.splitlines()[-1]}" if last else "")
