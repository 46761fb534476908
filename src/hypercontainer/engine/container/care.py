"""A container's hooks, probes and health check, while it runs.

One object per run.  ``begin`` is told when its startup probe has passed and its post_start hook is done; ``is_ready``
says whether its readiness probe passes.  Where a hook, or a probe of startup or liveness, fails, the run is ended, and
the container's restart policy does the rest.

Its health is what its health check says, or of one that has none what its probes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hypercontainer.contract.answers import Health, HealthResult
from hypercontainer.contract.probes import Action, Probe
from hypercontainer.contract.spec import ContainerSpec, ExecSpec
from hypercontainer.engine import times
from hypercontainer.engine.health import actions, connect
from hypercontainer.engine.health.healthcheck import (
    HEALTHY,
    NOT_ASKED,
    STARTING,
    UNHEALTHY,
    Plan,
    plan,
    shown,
    watch_health,
)
from hypercontainer.engine.health.probe import Probes, watch_container
from hypercontainer.engine.health.result import Result
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.sandbox.execs import Exec, Execs, Tell
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import AgentError, Conflict, GuestError, HyperError
from hypercontainer.linux.waiting import whole

DEFAULT_STOP_S = 10
OUTPUT_MAX_BYTES = 10 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reach:
    """How a container is got at by who cares for it.

    ``execs`` are in it, ``outside`` in its VM.  ``begin``: it has begun; ``changed``: it is ready, or is not any more;
    ``health``: what is known of that now; ``end``: it has so many seconds to end.
    """

    what: str
    execs: Execs
    outside: Execs
    paused: Callable[[], bool]
    begin: Callable[[], None]
    changed: Callable[[], None]
    health: Callable[[Health], None]
    end: Callable[[float], Coroutine[Any, Any, None]]
    tell: Tell


def health_at_start(record: ContainerRecord) -> Health | None:
    """None where nobody asks for it; what a health check has said in earlier runs is kept."""
    if _health_plan(record) is None and not _probes(record.spec):
        return None
    return Health(log=record.health.log if record.health is not None else ())


def _health_plan(record: ContainerRecord) -> Plan | None:
    return plan(record.effective.healthcheck, record.effective.shell)


def _probes(spec: ContainerSpec) -> bool:
    return bool(spec.startup or spec.liveness or spec.readiness)


class Care:
    """``running_for_s``: since the start, of a container that an earlier hyperd started."""

    def __init__(self, record: ContainerRecord, reach: Reach, *, running_for_s: float = 0.0) -> None:
        self._spec = spec = record.spec
        self._reach = reach
        self._begun = record.begun
        self._resumed = running_for_s > 0.0
        self._health_plan = _health_plan(record)
        self._health = record.health or Health()
        was_ready = self._resumed and self._health_plan is None and self._health.status == HEALTHY
        self.is_ready = was_ready or spec.readiness is None
        if not (spec.startup or spec.lifecycle.post_start):
            self.started()
        self._why_ended = ""
        self._tasks: list[asyncio.Task[None]] = []
        if _probes(spec) or spec.lifecycle.post_start:
            self._do(self._tend(running_for_s))
        if self._health_plan is not None:
            asked = watch_health(
                self._health_plan, self._health, self._check, reach.health, running_for_s=running_for_s
            )
            self._do(asked)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"care for {self._reach.what}"))

    async def close(self) -> str:
        """The run is over; why, where it was ended from here."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return self._why_ended

    async def _tend(self, running_for_s: float) -> None:
        hook = self._spec.lifecycle.post_start
        # Of a hook that an earlier hyperd began nobody knows the end; it is not begun twice.
        if hook is not None and not self._resumed:
            result = await self._perform(hook, None)
            if not result.ok:
                self._end(f"its post_start hook failed: {result.detail}", None)
                return
        probes = Probes(self._spec.startup, self._spec.liveness, self._spec.readiness)
        await watch_container(
            probes,
            self._ask,
            self,
            running_for_s=running_for_s,
            started=self._resumed and self._begun,
            ready=self._resumed and self.is_ready,
        )

    async def before_stop(self, timeout_s: float | None) -> None:
        """The pre_stop hook."""
        hook = self._spec.lifecycle.pre_stop
        if hook is not None:
            result = await self._perform(hook, timeout_s)
            if not result.ok:
                self._reach.tell("pre_stop_failed", detail=result.detail)

    # ------------------------------------------------------------------------------------- for watch_container

    def started(self) -> None:
        if not self._begun:
            self._begun = True
            self._reach.begin()
            self._tell_probed()

    def ready(self, ready: bool) -> None:
        self.is_ready = ready
        self._reach.tell("ready" if ready else "not_ready")
        self._reach.changed()
        self._tell_probed()

    def unhealthy(self, kind: str, probe: Probe, detail: str) -> None:
        self._end(f"its {kind} probe failed: {detail}", probe.termination_grace_s)

    # ------------------------------------------------------------------------------------- how it is asked

    async def _ask(self, probe: Probe) -> Result | None:
        if self._reach.paused():
            return None
        result = await actions.check(probe.check, self._ways(), probe.timeout_s)
        return None if self._reach.paused() else result  # it was frozen while it was asked

    def _tell_probed(self) -> None:
        """What the probes make of its health."""
        if self._health_plan is not None or not _probes(self._spec):
            return
        if self._begun and self.is_ready:
            status = HEALTHY
        else:
            status = STARTING if self._health.status == STARTING else UNHEALTHY
        if status != self._health.status:
            self._health = Health(status=status)
            self._reach.health(self._health)

    async def _check(self, plan: Plan) -> HealthResult | None:
        """As an exec of a user's, who is told of it.  None where it cannot be asked now."""
        if self._reach.paused():
            return None
        started = times.now()
        try:
            status, said = await self._execute(self._reach.execs.create, plan.command, plan.timeout_s)
        except TimeoutError:
            status, said = NOT_ASKED, f"Health check exceeded timeout ({plan.timeout_s:g}s)".encode()
        except GuestError as error:
            if error.errno in (errno.EBUSY, errno.ESRCH):  # it is being frozen, or has ended
                return None
            status, said = NOT_ASKED, error.message.encode()
        except (AgentError, Conflict):
            return None
        if self._reach.paused():
            return None  # it was frozen while it was asked
        return HealthResult(started=started, ended=times.now(), exit_status=status, output=shown(said))

    async def _perform(self, action: Action, timeout_s: float | None) -> Result:
        try:
            return await actions.perform(action, self._ways(), timeout_s)
        except AgentError as error:
            return Result(False, error.message)

    def _ways(self) -> actions.Reach:
        async def start(command: tuple[str, ...]) -> ProcessAttachment:
            return await self._reach.outside.start_quietly(ExecSpec(command=command, stdin=True))

        async def execute(command: tuple[str, ...], timeout_s: float | None) -> tuple[int, bytes]:
            return await self._execute(self._reach.execs.quiet, command, timeout_s)

        return actions.Reach(execute, connect.through(start))

    async def _execute(
        self, make: Callable[[ExecSpec], Exec], command: tuple[str, ...], timeout_s: float | None
    ) -> tuple[int, bytes]:
        """Its exit status and the beginning of its output.  One that is late is killed: TimeoutError."""
        attachment = await make(ExecSpec(command=command)).start()
        assert attachment is not None
        said = bytearray()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(_beginning(attachment, 1, said), _beginning(attachment, 2, said))
                return (await attachment.exit()).exit_status, bytes(said)
        except BaseException:
            with contextlib.suppress(HyperError):
                await whole(attachment.signal("KILL"))
            raise
        finally:
            await attachment.close()

    def _end(self, why: str, grace_s: float | None) -> None:
        """Ends this run, not the container: its restart policy acts."""
        if self._why_ended:
            return
        self._why_ended = why
        self._reach.tell("unhealthy", why=why)
        own = self._spec.stop_timeout_s
        if grace_s is None:
            grace_s = float(DEFAULT_STOP_S if own is None else own)
        self._do(self._reach.end(grace_s))


async def _beginning(attachment: ProcessAttachment, channel: int, kept: bytearray) -> None:
    while data := await attachment.read(channel):
        kept += data[: OUTPUT_MAX_BYTES - len(kept)]
