"""A pod's runs: from its start to its end, resumed by the next hyperd where the last one left it.

``PodRuns`` owns the task of each run, and what the order of start and end (``health.order``) sees of a container.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from hypercontainer.contract.states import State
from hypercontainer.engine import times
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.restart import wanted
from hypercontainer.engine.health.order import Finished, Phase, PodRun
from hypercontainer.engine.pod.pod import Pod

DEFAULT_GRACE_S = 30.0

log = logging.getLogger(__name__)


class PodMember:
    """``health.order.Member``: a container in the pod's present run."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def name(self) -> str:
        return self._container.record.name

    @property
    def role(self) -> str:
        return self._container.record.spec.role

    @property
    def phase(self) -> Phase:
        record, since = self._container.record, self._container.pod.record.since
        if record.state is State.STARTING:
            return Phase.STARTING
        if record.state in (State.RUNNING, State.PAUSED):
            return Phase.STARTED if self._container.begun else Phase.STARTING
        if record.state is State.RESTARTING:
            return Phase.STARTED if record.begun else Phase.STARTING
        if record.state is State.CREATED or record.run <= since.get(record.id, 0):
            return Phase.WAITING
        if wanted(record) and self._container.comes_back:
            return Phase.STARTED if record.begun else Phase.STARTING
        return Phase.SUCCEEDED if record.exit_status == 0 and not record.error else Phase.FAILED

    async def start(self) -> None:
        await self._container.start()

    async def stop(self, grace_s: float) -> None:
        await self._container.stop(timeout_s=round(grace_s))

    async def kill(self) -> None:
        await self._container.stop(timeout_s=0)


class PodRuns:
    """``removed`` is called for a pod that removes itself at its end."""

    def __init__(self, remove: Callable[[Pod], Awaitable[None]]) -> None:
        self._remove = remove
        self._runs: dict[str, PodRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def running(self, pod: Pod) -> PodRun | None:
        return self._runs.get(pod.id)

    def begin(self, pod: Pod) -> PodRun:
        """The pod's next run, from its first container on."""
        since = {member.id: member.record.run for member in pod.members.values()}
        pod.change(wanted=True, failure="", started=times.now(), since=since)
        pod.tell("start")
        return self.resume(pod)

    def resume(self, pod: Pod) -> PodRun:
        """The run that an earlier hyperd began."""
        members = [PodMember(container) for container in pod.members.values()]
        run = self._runs[pod.id] = PodRun(members, grace_s=_grace_s(pod))
        pod.run = run
        self._tasks[pod.id] = asyncio.create_task(self._run(pod, run), name=f"run of pod {pod.record.name}")
        return run

    async def _run(self, pod: Pod, run: PodRun) -> None:
        body = asyncio.create_task(run.run())
        spec = pod.record.spec
        late = ""
        try:
            if spec is not None and spec.deadline_s is not None:
                began_ns = times.to_ns(pod.record.started)
                left_s = spec.deadline_s - (time.time_ns() - began_ns) / 1e9
                done, _ = await asyncio.wait([body], timeout=max(0.0, left_s))
                if not done:
                    late = f"it ran longer than its {spec.deadline_s} s"
                    await run.stop(_grace_s(pod))
            self._ended(pod, await body, late)
        except asyncio.CancelledError:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)
            raise
        if spec is not None and spec.auto_remove:
            await self._remove(pod)

    def _ended(self, pod: Pod, end: Finished, late: str) -> None:
        self._runs.pop(pod.id, None)
        self._tasks.pop(pod.id, None)
        pod.run = None
        failure = late or (f"container {end.failed} failed" if end.failed else "")
        pod.change(wanted=False, failure=failure)
        pod.tell("die", failure=failure)

    async def close(self) -> None:
        """Lets go: hyperd ends, the pods live on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _grace_s(pod: Pod) -> float:
    spec = pod.record.spec
    return DEFAULT_GRACE_S if spec is None or spec.stop_timeout_s is None else float(spec.stop_timeout_s)
