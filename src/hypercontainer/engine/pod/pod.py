"""A pod: its members, the sandbox that they share, its runs, and all that may be asked of it.

A container that is alone has a pod too, which goes with it.  A pod hears of its members' changes as events.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from hypercontainer.agent.operations import ProcessPlan, Welcome
from hypercontainer.contract.answers import Exit, PodInspect, PodLogLine, PodSummary, Port, Sample
from hypercontainer.contract.calls import PodProcess
from hypercontainer.contract.spec import ExecSpec, PodSpec, PortMapping
from hypercontainer.contract.states import ALIVE, State
from hypercontainer.engine import files, times
from hypercontainer.engine import views as records
from hypercontainer.engine.container import launch
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.recovery import recover
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.network.ports import check as check_ports
from hypercontainer.engine.network.ports import check_reach
from hypercontainer.engine.pod import logs, views
from hypercontainer.engine.pod.run import Runs
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import connecting
from hypercontainer.engine.sandbox.claims import Holder, disk_name
from hypercontainer.engine.sandbox.contents import Brought, Contents, brought
from hypercontainer.engine.sandbox.execs import Execs
from hypercontainer.engine.sandbox.factory import Factory
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.machine import Supplies
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.errors import Conflict, HyperError, NotFound, Remedy
from hypercontainer.linux import signals
from hypercontainer.linux.waiting import whole
from hypercontainer.semantics import docker

log = logging.getLogger(__name__)


class Pod:
    """``removed``: its members and files are gone, and its record is to go."""

    def __init__(
        self,
        record: Kept[PodRecord],
        supplies: Supplies,
        factory: Factory,
        events: EventBus,
        removed: Callable[[PodRecord], None],
    ) -> None:
        self._kept = record
        self._places = supplies.places
        self._events = events
        self._removed = removed
        self._resumption: asyncio.Task[None] | None = None
        self._removing = False
        self.members: dict[str, Container] = {}  # by ID, in the order of their creation
        self.sandbox = Sandbox(record, supplies, factory, self._oom, self._tell_all)
        self.execs = Execs(self.id, self.sandbox.running, self._exec_plan, self.tell)
        self.runs = Runs(record, self.sandbox, self._members, self.tell, self._remove_quietly)
        self.recovered = asyncio.Event()

    # ------------------------------------------------------------------------------------- facts

    @property
    def record(self) -> PodRecord:
        return self._kept.value

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def what(self) -> str:
        return f"pod {self.record.name or self.id[:12]}"

    @property
    def called(self) -> str:
        """Its name, or that of the container for which it was made."""
        members = self.records()
        return self.record.name or (members[0].name if members else self.id[:12])

    def _members(self) -> list[Container]:
        return list(self.members.values())

    def records(self) -> list[ContainerRecord]:
        return [member.record for member in self.members.values()]

    def contents(self) -> Contents:
        """What its sandbox is to have."""
        members = self.records()
        written = {one.volume for record in members for one in record.spec.mounts if not one.read_only}
        written.update(name for record in members if not record.started for name in record.fills)
        volumes = {one.name: brought(self.record, one, written) for one in self.record.spec.volumes}
        theirs: dict[str, Brought] = {}
        for record in members:
            for volume in record.spec.volumes:
                theirs.setdefault(volume.name, brought(record, volume, written))
        roots, has_api = (
            tuple(record.diff_ids for record in members),
            any(record.spec.api_socket for record in members),
        )
        return Contents(self.called, roots, volumes | theirs, has_api)

    def holder(self, disk: str) -> Holder:
        """Who of it has a disk that its VM has claimed."""
        found = self.contents().volumes.items()
        volumes = {name for name, brought in found if disk_name(brought.volume) == disk}
        records = [
            record for record in self.records() if any(m.volume in volumes for m in record.spec.mounts)
        ]
        alive = [record for record in records if record.state in ALIVE]
        return Holder(self.record.name, tuple(record.name for record in alive or records))

    def in_state(self, *states: State) -> list[Container]:
        """The members that are in one of these; Conflict, where none is."""
        found = [member for member in self._members() if member.record.state in states]
        if not found:
            wanted = "paused" if states == (State.PAUSED,) else "running"
            raise Conflict(f"{self.what} is not {wanted}")
        return found

    def summary(self) -> PodSummary:
        return views.summary(self.record, self._members(), has_run=self.runs.present is not None)

    def ready(self) -> bool:
        """Every container that has a readiness probe passes it."""
        return views.ready(self._members())

    def succeeded(self) -> bool:
        """Whether it has come to a good end, and nobody has ended it before."""
        return self.summary().state == "succeeded"

    def tell(self, action: str, /, **attributes: str) -> None:
        self._events.publish("pod", action, self.id, name=self.record.name, **attributes)

    def takes(self, architecture: str) -> bool:
        """Whether a container for it can be one of the pod's; a pod without any, whose VM does not run, becomes what
        its first one is."""
        if not self.members and self.sandbox.live is None:
            self._kept.change(architecture=architecture)
        return self.record.architecture == architecture

    def change_spec(self, spec: PodSpec) -> None:
        """It was asked for in other words than it was created by."""
        self._kept.change(spec=spec)

    def _tell_all(self, action: str) -> None:
        for member in self._members():
            if member.alive:
                member.tell(action)

    def _oom(self, container: str) -> None:
        if container in self.members:
            self.members[container].tell("oom")

    # ------------------------------------------------------------------------------------- life

    async def start(self) -> None:
        """Returns when every container runs that shall: init containers have ended, sidecars have started."""
        self.sandbox.check_going()
        await self.runs.present_or_next().begun()

    async def stop(self, *, timeout_s: int | None = None) -> None:
        await self._stop(timeout_s)
        self.tell("stop")

    async def _stop(self, timeout_s: int | None) -> None:
        grace_s = self.runs.grace_s if timeout_s is None else float(timeout_s)
        self._kept.change(stopping=True)
        await self._go_on()
        if self.runs.present is not None:
            await self.runs.present.stop(grace_s)
        # Those that were started one by one.
        await asyncio.gather(*(member.stop(timeout_s=round(grace_s)) for member in self._members()))
        self._kept.change(stopping=False, wanted=False)

    async def restart(self, *, timeout_s: int | None = None) -> None:
        await self._stop(timeout_s)
        await self.start()

    async def kill(self, signal: str = "KILL") -> None:
        alive = [member for member in self._members() if member.alive or member.restarting]
        if not alive:
            raise Conflict(f"{self.what} is not running")
        await asyncio.gather(*(member.kill(signal) for member in alive))

    async def pause(self) -> None:
        """Its VM stands still and costs no CPU; its containers are frozen besides, so that one of them can be ended
        without the others going on."""
        self.in_state(State.RUNNING)
        frozen: list[Container] = []
        try:
            await self.sandbox.pause(partial(self._freeze, frozen))
        except BaseException:
            if not self.record.paused:
                await whole(_thaw(frozen))
            raise
        self.tell("pause")

    async def _freeze(self, frozen: list[Container]) -> None:
        async def freeze(member: Container) -> None:
            with contextlib.suppress(Conflict):  # it has ended just now
                await member.pause()
                frozen.append(member)

        running = self.in_state(State.RUNNING)
        for result in await asyncio.gather(*(freeze(member) for member in running), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        self.in_state(State.PAUSED)

    async def unpause(self) -> None:
        paused = [member for member in self._members() if member.record.state is State.PAUSED]
        if not paused and not self.record.paused:
            raise Conflict(f"{self.what} is not paused")
        await self._go_on()
        await asyncio.gather(*(member.unpause() for member in paused))
        self.tell("unpause")

    async def _go_on(self) -> None:
        if self.sandbox.stands_still:
            await self.sandbox.resume()

    async def remove(self, *, force: bool = False) -> None:
        alive = [member.record.name for member in self._members() if member.alive or member.restarting]
        if alive and not force:
            name = self.record.name
            raise Conflict(
                f"{self.what} has containers that run: {', '.join(alive)}",
                remedies=(Remedy("pods.stop", name), Remedy("pods.remove", name, options={"force": True})),
            )
        await self._remove()

    async def _remove(self) -> None:
        self._removing = True
        if self.runs.present is not None:
            await self.runs.present.stop(0.0)
        self._kept.change(wanted=False)
        for member in self._members():
            with contextlib.suppress(NotFound):
                await member.remove(force=True, volumes=True)
        await self.forget()
        self.tell("remove")

    async def _remove_quietly(self) -> None:
        try:
            await self._remove()
        except HyperError as error:
            log.error("%s cannot be removed: %s", self.what, error)

    async def left(self) -> None:
        """One of its containers has gone: it goes with the last, where they have made it."""
        if self.record.coupled and not self.members and not self._removing:
            await self._remove()

    async def forget(self) -> None:
        """With its disk; its containers are gone."""
        await asyncio.to_thread(files.remove_tree, self._places.pod(self.id))
        self._removed(self.record)

    async def wait(self) -> Exit:
        """When all its containers have ended for good: the status of the first that failed, or 0."""
        members = self._members()
        await self.runs.finished()
        ends = [await member.wait() for member in members]
        for member, end in zip(members, ends, strict=True):
            if end.exit_status != 0 and member.record.spec.role != "sidecar":
                return Exit(end.exit_status, end.error or self.record.failure)
        return Exit(1, self.record.failure) if self.record.failure else Exit(0)

    # ------------------------------------------------------------------------------------- ports and processes

    async def ports(self) -> list[Port]:
        """As they are while the VM runs, else as asked."""
        return [records.port(port) for port in (self.record.published or self.record.ports)]

    async def add_ports(self, ports: Sequence[PortMapping]) -> list[Port]:
        """All or none; in force at once where the VM runs, and kept.  The new ones, with their host ports."""
        check_ports(ports)
        check_reach(ports, self.record.networks)
        chosen = await connecting.publish(self.sandbox, tuple(ports))
        self.tell("ports")
        return [records.port(port) for port in chosen]

    async def remove_ports(self, ports: Sequence[PortMapping]) -> None:
        """NotFound, which names the port, where one is not published; then none is removed."""
        await connecting.withdraw(self.sandbox, tuple(ports))
        self.tell("ports")

    async def exec_create(self, spec: ExecSpec) -> str:
        """In the VM, outside of any container.  Started as any other."""
        return self.execs.create(spec).id

    def _exec_plan(self, spec: ExecSpec, number: int) -> ProcessPlan:
        """The VM has no programs of its own but what hyperstart is.  So they are taken from a container's image, if
        one runs."""
        if self.sandbox.live is None:
            raise Conflict(f"the VM of {self.what} does not run")
        self.sandbox.check_going()
        running = [member.id for member in self._members() if member.alive]
        return docker.vm_process(spec, number, tools=running[0] if running else "")

    # ------------------------------------------------------------------------------------- questions

    async def inspect(self) -> PodInspect:
        return views.inspect(self.record, self._members(), has_run=self.runs.present is not None)

    async def top(self) -> list[PodProcess]:
        found: list[PodProcess] = []
        for member in self.in_state(State.RUNNING):
            with contextlib.suppress(Conflict):  # it has ended just now
                found += [PodProcess(member.record.name, process) for process in await member.top()]
        if not found:
            raise Conflict(f"{self.what} is not running")
        return found

    async def stats(self) -> list[Sample]:
        """One for each running container."""
        return [await member.stats() for member in self.in_state(State.RUNNING)]

    async def logs(
        self,
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: int | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[PodLogLine]:
        """Of all containers; of each in the order of writing.  ``follow`` ends with the pod's run."""
        wish = logs.Wish(
            follow,
            times.moment_ns(since, field="since"),
            times.moment_ns(until, field="until"),
            tail,
            timestamps,
        )
        async with contextlib.aclosing(logs.read(self._members(), wish, self.runs.finished)) as lines:
            async for line in lines:
                yield line

    # ------------------------------------------------------------------------------------- another hyperd's

    async def recover(self) -> None:
        """Takes it back as an earlier hyperd left it; ``recovered`` is set when that has come to an end."""
        try:
            await self._recover()
        except HyperError as error:
            log.error("%s could not be taken back: %s", self.what, error)
        finally:
            self.recovered.set()

    async def _recover(self) -> None:
        members = self._members()
        for member in members:
            member.recovered.clear()
        for result in await asyncio.gather(*(recover(member) for member in members), return_exceptions=True):
            if isinstance(result, Exception):
                log.error("%s: one of its containers could not be taken back", self.what, exc_info=result)
        welcome = await self.sandbox.adopted()
        if welcome is not None and self.sandbox.live is not None:
            _end_vm_processes(self.sandbox.live, welcome)
        if (
            self.record.stopping or not self.record.wanted
        ):  # else its run goes on, and may have need of the VM
            await self.sandbox.end_if_unused()
        if (self.record.alone or self.record.coupled) and not self.members and not self._removing:
            await self.forget()
        elif not self.record.alone:
            await self.sandbox.tidy(self.contents())
        await self.sandbox.settle()

    def resume(self) -> None:
        """Goes on with the run that an earlier hyperd began, once it is recovered."""
        self._resumption = asyncio.create_task(self._resume(), name=f"resumption of {self.what}")

    @property
    def resuming(self) -> bool:
        """What it was is not known to have changed."""
        resumed = self._resumption is None or self._resumption.done()
        return not (self.recovered.is_set() and resumed)

    async def _resume(self) -> None:
        await self.recovered.wait()
        if self.record.stopping:
            await self._stop(None)
        elif self.record.wanted:
            self.runs.resume()

    async def let_go(self) -> None:
        """Of its run, which the next hyperd goes on with, whatever becomes of the containers now."""
        if self._resumption is not None:
            self._resumption.cancel()
        await self.runs.close()

    async def close(self) -> None:
        """Lets go: hyperd ends, the containers live on."""
        for member in self._members():
            await member.close()
        await self.sandbox.close()


async def _thaw(members: Sequence[Container]) -> None:
    await asyncio.gather(*(member.unpause() for member in members), return_exceptions=True)


def _end_vm_processes(live: Live, welcome: Welcome) -> None:
    """Those outside of containers did something for an earlier hyperd, which nobody waits for any more."""
    launch.drain_others(live, welcome, "", 0)
    for state in welcome.processes:
        if not state.container and not state.exited:
            signalled = live.agent.signal(state.process, signals.parse("TERM"))
            signalled.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
