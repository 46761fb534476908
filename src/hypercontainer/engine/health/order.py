"""In which order a pod's containers start and end.

Init containers run one after the other, each to a good end; a sidecar among them starts in its turn, goes on, and the
next waits until it has started.  Then all main containers start at once.  When they have ended for good, the sidecars
are stopped, last one first.  A stop ends the main containers (or the init container that runs) together, then the
sidecars in reverse, all within one time.

``plan_next`` is all of it, a pure function of what the members' phases are *now*: a hyperd that finds a pod half way
goes on by asking it.  ``PodRun`` does what it says.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hypercontainer.engine.health.clock import MONOTONIC, Clock
from hypercontainer.errors import Cancelled, Conflict, HyperError

log = logging.getLogger(__name__)

INIT, SIDECAR, MAIN = "init", "sidecar", "main"
KILL_S = 10.0  # a member that has not ended so long after its time is killed


class Phase(enum.Enum):
    """Of a member, in the pod's present run."""

    WAITING = "waiting"  # not started yet
    STARTING = "starting"  # started, and what others wait for (startup probe, post_start) has not happened
    STARTED = "started"  # goes on: runs, or will be started again by its restart policy
    STOPPING = "stopping"  # its stop is under way
    SUCCEEDED = "succeeded"  # ended for good, with 0
    STOPPED = "stopped"  # ended for good, otherwise, because a user wanted its end
    FAILED = "failed"  # ended for good, otherwise


BEGUN = frozenset({Phase.STARTING, Phase.STARTED})
ENDED = frozenset({Phase.SUCCEEDED, Phase.STOPPED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Standing:
    name: str
    role: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class Start:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Until some phase changes."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing runs, and nothing will.  ``failed``: the first init or main container that did, "" where none."""

    failed: str = ""


Step = Start | Stop | Wait | Finished


def plan_next(members: Sequence[Standing], *, stopping: bool = False, lasting: bool = False) -> Step:
    """What is to be done now.  ``lasting``: the pod stays although nothing runs, for what may yet be added."""
    mains = [member for member in members if member.role == MAIN]
    over = all(main.phase in ENDED for main in mains) if mains else _prelude_passed(members)
    if stopping or _prelude_failed(members, mains) or (over and not lasting):
        return _wind_down(members)
    for member in members:
        if member.role == MAIN or _passed(member):
            continue
        return Start((member.name,)) if member.phase is Phase.WAITING else Wait()
    waiting = tuple(main.name for main in mains if main.phase is Phase.WAITING)
    return Start(waiting) if waiting else Wait()


def _passed(member: Standing) -> bool:
    """Whether what stands behind this init container or sidecar may start."""
    if member.role == SIDECAR:
        return member.phase is Phase.STARTED or member.phase in ENDED
    return member.phase is Phase.SUCCEEDED


def _prelude_passed(members: Iterable[Standing]) -> bool:
    return all(member.role == MAIN or member.phase is Phase.STOPPING or _passed(member) for member in members)


def _prelude_failed(members: Iterable[Standing], mains: Iterable[Standing]) -> bool:
    """A sidecar that is gone counts as long as no main container has begun, which would be without it."""
    unbegun = all(main.phase is Phase.WAITING for main in mains)
    failed = [member.role for member in members if member.phase in (Phase.STOPPED, Phase.FAILED)]
    return INIT in failed or (unbegun and SIDECAR in failed)


def _wind_down(members: Sequence[Standing]) -> Step:
    front = [member for member in members if member.role != SIDECAR]
    sidecars = [member for member in reversed(members) if member.role == SIDECAR]
    if begun := tuple(member.name for member in front if member.phase in BEGUN):
        return Stop(begun)
    if any(member.phase is Phase.STOPPING for member in front):
        return Wait()
    for sidecar in sidecars:
        if sidecar.phase is Phase.STOPPING:
            return Wait()
        if sidecar.phase in BEGUN:
            return Stop((sidecar.name,))
    return Finished(_first_failed(members))


def _first_failed(members: Sequence[Standing]) -> str:
    mains_begun = any(member.role == MAIN and member.phase is not Phase.WAITING for member in members)
    for member in members:
        if member.phase is Phase.FAILED and not (member.role == SIDECAR and mains_begun):
            return member.name
    return ""


class Member(Protocol):
    """A container as the order sees it.  Whoever changes its phase calls ``PodRun.poke``."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def phase(self) -> Phase:
        """As it is now; never STOPPING, which PodRun knows itself."""

    async def start(self) -> None:
        """Returns when the program runs; HyperError where it cannot.  Then the phase is what the restart policy
        makes of it; one that is still WAITING counts as FAILED."""

    async def stop(self, grace_s: float) -> None:
        """pre_stop, signal, and SIGKILL once ``grace_s`` have passed; returns when it has ended, for good.  Gives up
        a start or a restart that is under way."""

    async def kill(self) -> None:
        """Whatever it takes, even the VM."""


class PodRun:
    """One run of a pod, from any state of its members on.

    ``run`` is the task's body; cancelled, it leaves the members as they are.  It owns the tasks that start and stop
    members.  ``grace_s``: for the sidecars, when the main containers have ended by themselves.  ``settled`` is called,
    maybe more than once, when there is none left that has never been started, and at the end.
    """

    def __init__(
        self,
        members: Iterable[Member],
        *,
        grace_s: float = 30.0,
        lasting: bool = False,
        clock: Clock = MONOTONIC,
        settled: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._members = list(members)
        self._settled = settled
        self._grace_s = grace_s
        self._lasting = lasting
        self._clock = clock
        self._stopping = False
        self._deadline: float | None = None
        # By member, not by name: a container may be renamed while it runs.
        self._starting: dict[Member, asyncio.Task[None]] = {}
        self._ending: dict[Member, asyncio.Task[None]] = {}
        self._unstartable: dict[Member, HyperError] = {}
        self._gone: set[Member] = set()  # stopped, whatever they say
        self._changed = asyncio.Event()
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._finished: asyncio.Future[Finished] = asyncio.get_running_loop().create_future()
        for future in (self._begun, self._finished):
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    # -- for the owner

    def poke(self) -> None:
        """Some member's phase has changed, or may have."""
        self._changed.set()

    def add(self, member: Member) -> None:
        """A main container more; it is started unless it runs, in its turn."""
        self._members.append(member)
        self.poke()

    def discard(self, name: str) -> None:
        """A member that was removed, and has ended."""
        self._members = [member for member in self._members if member.name != name]
        self.poke()

    async def begun(self) -> None:
        """Returns when every main container was started; raises what kept the pod from that."""
        await asyncio.shield(self._begun)

    async def finished(self) -> Finished:
        return await asyncio.shield(self._finished)

    async def stop(self, grace_s: float) -> Finished:
        """Ends all of it and returns when that is done.  A later call can only shorten the time."""
        deadline = self._clock.now() + max(0.0, grace_s)
        again = self._stopping
        self._stopping = True
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        self.poke()
        if again and grace_s <= 0:
            await asyncio.gather(*(self._kill(member) for member in tuple(self._ending)))
        return await self.finished()

    async def run(self) -> Finished:
        try:
            while True:
                self._changed.clear()
                step = plan_next(self._standings(), stopping=self._stopping, lasting=self._lasting)
                over = isinstance(step, Finished) and not self._starting
                if not over:
                    self._do(step)
                if self._settled is not None and (over or self._begun.done()):
                    await self._settled()
                if isinstance(step, Finished) and over:
                    self._end(step)
                    return step
                await self._changed.wait()
        finally:
            await self._let_go()

    # -- the loop

    def _standings(self) -> list[Standing]:
        return [Standing(member.name, member.role, self._phase(member)) for member in self._members]

    def _phase(self, member: Member) -> Phase:
        phase = member.phase
        if member in self._ending:
            return Phase.STOPPING
        if member in self._gone and member.role == SIDECAR:
            return Phase.SUCCEEDED  # what it says to a signal is no failure of the pod
        if member in self._gone and phase in BEGUN:
            return Phase.FAILED
        if phase is Phase.WAITING and member in self._starting:
            return Phase.STARTING
        if phase is Phase.WAITING and member in self._unstartable:
            return Phase.FAILED
        return phase

    def _do(self, step: Step) -> None:
        if not (self._stopping or self._ending or isinstance(step, Stop)):
            self._deadline = None  # a main container was started again
        match step:
            case Start(names=names):
                for member in self._named(names):
                    task = asyncio.create_task(self._start(member), name=f"start of {member.name}")
                    self._starting[member] = task
            case Stop(names=names):
                if self._deadline is None:
                    self._deadline = self._clock.now() + self._grace_s
                for member in self._named(names):
                    task = asyncio.create_task(self._stop(member), name=f"stop of {member.name}")
                    self._ending[member] = task
            case _:
                self._tell_begun()

    def _named(self, names: Sequence[str]) -> list[Member]:
        return [member for member in self._members if member.name in names]

    def _tell_begun(self) -> None:
        if self._begun.done() or self._stopping or self._starting or not _prelude_passed(self._standings()):
            return
        mains = [member for member in self._members if member.role == MAIN]
        failed = [self._unstartable[main] for main in mains if main in self._unstartable]
        if failed:
            self._begun.set_exception(failed[0])
        elif all(main.phase is not Phase.WAITING for main in mains):
            self._begun.set_result(None)

    async def _start(self, member: Member) -> None:
        try:
            await member.start()
            if member.phase is Phase.WAITING:
                raise Conflict(f"container {member.name} did not start")
        except HyperError as error:
            log.warning("start of %s: %s", member.name, error)
            self._unstartable[member] = error
        except Exception as error:  # a mistake of ours must not start it again and again
            log.exception("start of %s", member.name)
            self._unstartable[member] = HyperError(f"start of {member.name}: {error}")
        finally:
            self._starting.pop(member, None)
            self.poke()

    async def _stop(self, member: Member) -> None:
        assert self._deadline is not None
        grace_s = max(0.0, self._deadline - self._clock.now())
        stop = asyncio.create_task(member.stop(grace_s))
        alarm = asyncio.ensure_future(self._clock.sleep(grace_s + KILL_S))
        try:
            await asyncio.wait([stop, alarm], return_when=asyncio.FIRST_COMPLETED)
            failure = stop.exception() if stop.done() else None
            if failure is not None or not stop.done():
                log.warning("%s does not stop; it is killed", member.name, exc_info=failure)
                await self._kill(member)
        finally:
            stop.cancel()
            alarm.cancel()
            await asyncio.gather(stop, alarm, return_exceptions=True)
            self._gone.add(member)
            self._ending.pop(member, None)
            if (start := self._starting.get(member)) is not None:
                start.cancel()  # one that waits for its turn: what was stopped does not begin
            self.poke()

    async def _kill(self, member: Member) -> None:
        try:
            await member.kill()
        except HyperError as error:
            log.error("%s cannot be killed: %s", member.name, error)

    # -- the end

    def _end(self, result: Finished) -> None:
        if not self._begun.done():
            failed = [self._unstartable[m] for m in self._named((result.failed,)) if m in self._unstartable]
            error = failed[0] if failed else None
            reason = f"container {result.failed} failed" if result.failed else "it was stopped"
            if error is None and not self._all_mains_began():
                error = Conflict(f"the pod did not start: {reason}")
            if error is not None:
                self._begun.set_exception(error)
            else:
                self._begun.set_result(None)
        self._finished.set_result(result)

    def _all_mains_began(self) -> bool:
        return all(m.phase is not Phase.WAITING for m in self._members if m.role == MAIN)

    async def _let_go(self) -> None:
        tasks = [*self._starting.values(), *self._ending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in (self._begun, self._finished):
            if not future.done():
                future.set_exception(Cancelled("hyperd lets go of the pod"))
