"""A pod's runs: from its start to its end, resumed by the next hyperd where the last one left it.

``Runs`` owns the task of the present one, and what the order of start and end (``health.order``) sees of a container.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from hypercontainer.contract.states import State
from hypercontainer.engine import times
from hypercontainer.engine.container.care import DEFAULT_STOP_S
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.restart import wanted
from hypercontainer.engine.health.order import Finished, Phase, PodRun
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.execs import Tell
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import PodRecord
from hypercontainer.linux.waiting import ended


class PodMember:
    """``health.order.Member``: a container in the pod's present run.  ``since``: how often it had run before."""

    def __init__(self, container: Container, since: int) -> None:
        self._container = container
        self._since = since

    @property
    def name(self) -> str:
        return self._container.record.name

    @property
    def role(self) -> str:
        return self._container.record.spec.role

    @property
    def phase(self) -> Phase:
        record = self._container.record
        if record.state is State.STARTING:
            return Phase.STARTING
        if record.state in (State.RUNNING, State.PAUSED):
            return Phase.STARTED if self._container.begun else Phase.STARTING
        if record.state is State.RESTARTING:
            return Phase.STARTED if record.begun else Phase.STARTING
        if record.state is State.CREATED or record.run <= self._since:
            return Phase.WAITING
        if wanted(record) and self._container.comes_back:
            return Phase.STARTED if record.begun else Phase.STARTING
        if record.exit_status == 0 and not record.error:
            return Phase.SUCCEEDED
        return Phase.STOPPED if record.stopped_by_user else Phase.FAILED

    async def start(self) -> None:
        await self._container.start_in_turn(patient=True)

    async def stop(self, grace_s: float) -> None:
        await self._container.stop(timeout_s=round(grace_s))

    async def kill(self) -> None:
        await self._container.stop(timeout_s=0)


class Runs:
    """Of one pod, whose VM stays between its init containers.  ``over`` is called when a run of a pod that removes
    itself has ended."""

    def __init__(
        self,
        record: Kept[PodRecord],
        sandbox: Sandbox,
        members: Callable[[], list[Container]],
        tell: Tell,
        over: Callable[[], Awaitable[None]],
    ) -> None:
        self.present: PodRun | None = None
        self._record = record
        self._sandbox = sandbox
        self._members = members
        self._tell = tell
        self._over = over
        self._task: asyncio.Task[None] | None = None

    @property
    def grace_s(self) -> float:
        """What the pod says, or the longest that one of its containers does."""
        if (wish := self._record.value.spec.stop_timeout_s) is not None:
            return float(wish)
        wishes = [member.record.spec.stop_timeout_s for member in self._members()]
        return float(max((DEFAULT_STOP_S if own is None else own for own in wishes), default=DEFAULT_STOP_S))

    def poke(self) -> None:
        """Something has changed of a member."""
        if self.present is not None:
            self.present.poke()

    def present_or_next(self) -> PodRun:
        """The run that goes on, or one from its first container on."""
        if self.present is not None:
            return self.present
        since = {member.id: member.record.run for member in self._members()}
        self._record.change(wanted=True, stopping=False, failure="", started=times.now(), since=since)
        self._tell("start")
        return self.resume()

    async def finished(self) -> None:
        """Waits for the end of the run that goes on, if one does, and for all that follows from it."""
        task = self._task
        if self.present is not None:
            await self.present.finished()
        if task is not None:
            await asyncio.wait([task])

    def resume(self) -> PodRun:
        """The run that an earlier hyperd began, or goes on already."""
        if self.present is None:
            since = self._record.value.since
            members = [PodMember(member, since.get(member.id, 0)) for member in self._members()]
            self._sandbox.hold()
            self.present = run = PodRun(members, grace_s=self.grace_s, settled=self._sandbox.release)
            self._task = asyncio.create_task(self._run(run), name=f"run of pod {self._record.value.name}")
        return self.present

    async def _run(self, run: PodRun) -> None:
        spec = self._record.value.spec
        body = asyncio.create_task(run.run())
        late = ""
        try:
            if spec.deadline_s is not None:
                began_ns = times.to_ns(self._record.value.started)
                left_s = spec.deadline_s - (time.time_ns() - began_ns) / 1e9
                done, _ = await asyncio.wait([body], timeout=max(0.0, left_s))
                if not done:
                    late = f"it ran longer than its {spec.deadline_s} s"
                    await run.stop(self.grace_s)
            self._ended(await body, late)
        except asyncio.CancelledError:
            body.cancel()
            await ended(body)
            raise
        if spec.auto_remove:
            await self._over()

    def _ended(self, end: Finished, late: str) -> None:
        self.present = self._task = None
        failure = late or (f"container {end.failed} failed" if end.failed else "")
        self._record.change(wanted=False, failure=failure)
        self._tell("die", failure=failure)

    async def close(self) -> None:
        """Lets go: hyperd ends, the pod lives on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
