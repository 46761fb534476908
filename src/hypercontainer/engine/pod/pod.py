"""A pod at run time: its VM, the channel to the agent in it, and the processes that run there.

The one owner of VM and channel.  ``ended`` is done when the VM is gone, whoever ended it; every process that
still ran is lost then.  A guest that breaks the wire contract costs its VM.

Containers are its users: the first that joins has the VM started, and with the last that leaves it ends.
``machine`` orders what begins and ends the VM, and what is plugged into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec

from hypercontainer.agent.operations import (
    ContainerOom,
    ContainerPlan,
    Disk,
    Event,
    GuestLog,
    ProcessExited,
    ProcessPlan,
    Welcome,
)
from hypercontainer.agent.session import Agent
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.contract.volumes import DiskImage, NamedVolume, Volume
from hypercontainer.engine.container.execs import Execs
from hypercontainer.engine.container.process import Process
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.sandbox import layout, plug
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL
from hypercontainer.engine.state import ContainerRecord, ImagePart, PodRecord
from hypercontainer.errors import AgentError, AgentProtocolError, Conflict, HyperError
from hypercontainer.hypervisor.driver import VM, VMExit, VMRecord, VMSpec
from hypercontainer.semantics import docker as plan

if TYPE_CHECKING:
    from hypercontainer.engine.container.container import Container
    from hypercontainer.engine.health.order import PodRun

ORDERLY_END_S = 10.0
WELCOME_S = 30.0
LAST_WORDS_S = 2.0
STALE = "hyper.stale"  # the container by which the guest knows a directory that is to be removed
GONE: dict[str, Any] = {"vm": None, "published": (), "images": (), "mounted": {}}

log = logging.getLogger(__name__)


class Pod:
    def __init__(self, record: PodRecord, parts: Parts) -> None:
        self.record = record
        self._parts = parts
        self._vm: VM | None = None
        self._agent: Agent | None = None
        self._processes: dict[int, Process] = {}
        self._watcher: asyncio.Task[VMExit] | None = None
        self._adoption: asyncio.Task[Welcome | None] | None = None
        self._users: set[str] = set()
        self.members: dict[str, Container] = {}  # by ID, in the order of their creation
        self.execs = Execs(self)
        self.machine = asyncio.Lock()
        self.recovered = asyncio.Event()
        self.run: PodRun | None = None  # the present one, if it was started as a whole
        self.oom_killed: set[str] = set()
        self.booted_ns = 0  # by this host's clock, for the guest's times since boot

    @property
    def agent(self) -> Agent:
        if self._agent is None:
            raise AgentError(f"the VM of {self.record.id[:12]} does not run")
        return self._agent

    @property
    def vm(self) -> VM | None:
        return self._vm

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def pod(self) -> Pod:
        return self

    def exec_plan(self, spec: ExecSpec, number: int) -> ProcessPlan:
        """For `execs.Owner`: a process in the VM, which has no programs of its own but what hyperstart is.  So they
        are taken from a container's image, if one runs."""
        if self._agent is None:
            raise Conflict(f"the VM of pod {self.record.name or self.id[:12]} does not run")
        running = [member.id for member in self.members.values() if member.alive]
        return plan.vm_process(spec, number, tools=running[0] if running else "")

    def tell(self, action: str, /, **attributes: str) -> None:
        self._parts.events.publish("pod", action, self.id, name=self.record.name, **attributes)

    @property
    def labels(self) -> dict[str, str]:
        return self.record.spec.labels if self.record.spec is not None else {}

    @property
    def named(self) -> bool:
        """A pod of its own right; else the pod of one container, which goes with it."""
        return bool(self.record.name)

    @property
    def volumes(self) -> dict[str, Volume]:
        """All that its containers may mount, by name."""
        own = self.record.spec.volumes if self.record.spec is not None else ()
        brought = (volume for member in self.members.values() for volume in member.record.spec.volumes)
        return {volume.name: volume for volume in (*own, *brought)}

    @property
    def keeps_data(self) -> bool:
        """What its guest has written must be on its disks when the VM ends: some outlive it."""
        return any(
            isinstance(volume.source, NamedVolume | DiskImage) and not volume.read_only
            for volume in self.volumes.values()
        )

    def asked_by(self, volume: str) -> int | None:
        """Who brought the volume."""
        for member in self.members.values():
            if any(own.name == volume for own in member.record.spec.volumes):
                return member.record.asked_by
        return self.record.asked_by

    def records(self) -> list[ContainerRecord]:
        return [member.record for member in self.members.values()]

    def image_part(self, chain_id: str) -> ImagePart | None:
        """Where the VM that runs has the image."""
        return next((part for part in self.record.images if part.chain_id == chain_id), None)

    @property
    def in_use(self) -> bool:
        return bool(self._users)

    def used_by_others(self, container: str) -> bool:
        return bool(self._users - {container})

    def poke(self) -> None:
        """Something has changed of a container."""
        if self.run is not None:
            self.run.poke()

    def join(self, container: str) -> None:
        """A container is about to run."""
        self._users.add(container)
        self.oom_killed.discard(container)

    async def leave(
        self, container: str, *, orderly: bool, comes_back: bool = False, fresh: bool = False
    ) -> None:
        """Its run is over.  With the last user the VM goes, if none ``comes_back`` soon; else only what the guest
        has of this container, with what it has written if it is to come back ``fresh``."""
        async with self.machine:
            if not comes_back:
                self._users.discard(container)
            if not self._users:
                await self.end(orderly=orderly)
            elif self._agent is not None:
                with contextlib.suppress(AgentError):
                    await self._agent.destroy_container(container, discard=fresh)

    def change(self, **changes: Any) -> None:
        self.record = msgspec.structs.replace(self.record, **changes)
        self._parts.state.put_pod(self.record)

    async def launch(self, spec: VMSpec) -> None:
        """Starts the VM; the agent may be spoken to at once, and answers when the guest has booted."""
        await self.take(await self._parts.driver.launch(spec))

    async def take(self, vm: VM) -> None:
        """Makes a VM this pod's, whose guest has not been spoken to.  One that is paused gets what it is told when
        it is resumed."""
        try:
            self.change(vm=vm.record.to_json())
            await self._hold(vm, resumed=False)
        except BaseException:
            await asyncio.shield(vm.kill())
            raise

    async def discard(self, record: ContainerRecord) -> None:
        """What a container that is removed has written goes from the pod's disk: now, or when the VM runs next."""
        if self.named and not record.spec.read_only and record.run:
            self.change(stale=(*self.record.stale, f"container-{record.id[:12]}"))
            async with self.machine:
                await self.discard_stale()

    async def discard_stale(self) -> None:
        """What was put off, if there is a guest for it."""
        while self._agent is not None and self.record.stale:
            directory, *rest = self.record.stale
            with contextlib.suppress(AgentError):
                # For as long as it takes a container has it again, and goes with all that is its own.
                upper = Disk(DISK_SERIAL, "ext4", directory=directory)
                lower = layout.lower(self.record.images[0])
                await self._agent.create_container(ContainerPlan(STALE, lower, upper))
                await self._agent.destroy_container(STALE, discard=True)
            self.change(stale=tuple(rest))

    async def tidy(self) -> None:
        """Disks that came with containers that are gone are taken out of a VM that runs on."""
        if not self.named:
            return
        async with self.machine:
            try:
                if self._vm is not None and self._users:
                    await plug.unused(self)
            except HyperError as error:
                log.warning("pod %s: %s", self.record.name, error)

    async def adopted(self) -> Welcome | None:
        """The VM of an earlier hyperd is taken back, once for all who ask."""
        if self._adoption is None:
            self._adoption = asyncio.create_task(self.adopt(), name=f"adoption {self.record.id[:12]}")
        return await asyncio.shield(self._adoption)

    async def adopt(self) -> Welcome | None:
        """Takes the VM of an earlier hyperd back; None when it is gone, or cannot be spoken to and was ended."""
        if self.record.vm is None:
            return None
        try:
            record = VMRecord.from_json(self.record.vm)
            return await self._adopt(record)
        except HyperError as error:
            log.warning("pod %s: %s", self.record.id[:12], error)
        if await self.end(orderly=False) is None:
            with contextlib.suppress(HyperError):
                await self._parts.driver.destroy(VMRecord.from_json(self.record.vm))
            self.change(**GONE)
        return None

    async def _adopt(self, record: VMRecord) -> Welcome | None:
        vm = await self._parts.driver.adopt(record)
        if vm is None:
            self.change(**GONE)
            return None
        await self._hold(vm, resumed=True)
        return await self.greeted(WELCOME_S)

    def add(self, process: Process) -> None:
        self._processes[process.number] = process

    def forget(self, process: Process) -> None:
        self._processes.pop(process.number, None)

    def release(self, number: int) -> None:
        """Lets the guest give up an exited process, if there still is a guest."""
        if self._agent is not None:
            with contextlib.suppress(AgentError):
                self._agent.forget(number)

    def new_process_number(self) -> int:
        """Never one that this VM has seen: init has 1, all others are drawn from 2^29 numbers."""
        while True:
            number = secrets.randbelow(1 << 29) + 2
            if number not in self._processes:
                return number

    async def ended(self) -> VMExit:
        """Waits for the VM's end."""
        assert self._watcher is not None
        return await asyncio.shield(self._watcher)

    async def end(self, *, orderly: bool) -> VMExit | None:
        """Ends the VM, whatever state it is in; orderly: what the guest has written is on its disk first."""
        if self._vm is None or self._watcher is None:
            return None
        if orderly and not self._watcher.done():
            with contextlib.suppress(AgentError, TimeoutError):
                async with asyncio.timeout(ORDERLY_END_S):
                    await self.agent.shutdown()
                    return await self.ended()
        await self._vm.kill()
        return await self.ended()

    async def close(self) -> None:
        """Lets go of the VM, which lives on."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._agent is not None:
            self._agent.close()
        if self._vm is not None:
            await self._vm.close()

    async def _hold(self, vm: VM, *, resumed: bool) -> None:
        reader, writer = await vm.connect_agent()
        self._vm = vm
        self._agent = Agent.open(reader, writer, resumed=resumed, on_event=self._on_event)
        self._processes.clear()
        self.oom_killed.clear()
        self._watcher = asyncio.create_task(self._watch(vm, self._agent), name=f"pod {self.record.id[:12]}")

    async def greeted(self, timeout_s: float) -> Welcome:
        """What the guest says of itself when the session begins."""
        welcome = await self.agent.welcome(timeout_s)
        self.booted_ns = time.time_ns() - welcome.uptime_ns
        return welcome

    async def _watch(self, vm: VM, agent: Agent) -> VMExit:
        gone = asyncio.ensure_future(vm.wait())
        silent = asyncio.ensure_future(agent.closed())
        try:
            await asyncio.wait({gone, silent}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done() and not isinstance(silent.result(), AgentProtocolError):
                # The channel closes a moment before a VM that powers off is gone; anything else is a broken guest.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(gone), LAST_WORDS_S)
            broken = None if gone.done() else silent.result()
            if broken is not None:
                log.warning("pod %s: %s; its VM is ended", self.record.id[:12], broken)
                await vm.kill()
            vm_exit = await gone
        finally:
            gone.cancel()
            silent.cancel()
        self._lose(AgentError(how_it_ended(vm_exit, broken)))
        agent.close()
        self._vm = self._agent = None
        self.change(**GONE)
        return vm_exit

    def _lose(self, error: AgentError) -> None:
        for process in tuple(self._processes.values()):
            process.lose(error)
        self._processes.clear()

    def note_oom(self, container: str, killed: bool) -> None:
        """Whether the guest has told that something was killed for memory: by an event, or with a process's end."""
        if killed and container not in self.oom_killed:
            self.oom_killed.add(container)
            if container in self.members:
                self.members[container].tell("oom")

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ProcessExited):
            process = self._processes.get(event.process)
            if process is not None and not process.ended.done():
                process.ended.set_result(event)
        elif isinstance(event, ContainerOom):
            self.note_oom(event.container, True)
        elif isinstance(event, GuestLog):
            log.info("pod %s: guest: %s", self.record.id[:12], event.message)


def how_it_ended(vm_exit: VMExit, broken: AgentError | None) -> str:
    """Of a VM that is gone, for people; ``broken`` is why it was ended, if it was because of its guest."""
    if broken is not None:
        contract = "its guest broke the wire contract: " if isinstance(broken, AgentProtocolError) else ""
        return f"its VM was ended: {contract}{broken.message}"
    last = vm_exit.stderr.strip() or vm_exit.console.strip()
    return f"its VM ended ({vm_exit.reason.value})" + (f": {last.splitlines()[-1]}" if last else "")
