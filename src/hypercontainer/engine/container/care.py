"""A container's hooks and probes, while it runs.

One object per run.  ``begin`` is told when its startup probe has passed and its post_start hook is done; ``is_ready``
says whether its readiness probe passes.  What fails here ends the run, and the container's restart policy does the
rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hypercontainer.contract.probes import Action, Probe
from hypercontainer.contract.spec import ContainerSpec, ExecSpec
from hypercontainer.engine.health import actions, connect
from hypercontainer.engine.health.probe import Probes, watch_container
from hypercontainer.engine.health.result import Result
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.sandbox.execs import Execs, Tell
from hypercontainer.errors import AgentError, HyperError

DEFAULT_STOP_S = 10
OUTPUT_MAX_BYTES = 10 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reach:
    """How a container is got at by who cares for it.

    ``execs`` are in it, ``outside`` in its VM.  ``begin``: it has begun; ``changed``: it is ready, or is not any more;
    ``end``: it has so many seconds to end.
    """

    what: str
    execs: Execs
    outside: Execs
    paused: Callable[[], bool]
    begin: Callable[[], None]
    changed: Callable[[], None]
    end: Callable[[float], Coroutine[Any, Any, None]]
    tell: Tell


def wanted(spec: ContainerSpec) -> bool:
    return bool(spec.startup or spec.liveness or spec.readiness or spec.lifecycle.post_start)


class Care:
    """``running_for_s``: since the start, of a container that an earlier hyperd started; ``begun``: it had begun
    then."""

    def __init__(
        self, spec: ContainerSpec, reach: Reach, *, begun: bool = False, running_for_s: float = 0.0
    ) -> None:
        self._spec = spec
        self._reach = reach
        self._begun = begun
        self._resumed = running_for_s > 0.0
        if not (spec.startup or spec.lifecycle.post_start):
            self.started()
        self.is_ready = spec.readiness is None
        self._why_ended = ""
        self._tasks: list[asyncio.Task[None]] = []
        if wanted(spec):
            self._do(self._tend(running_for_s))

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

    def ready(self, ready: bool) -> None:
        self.is_ready = ready
        self._reach.tell("ready" if ready else "not_ready")
        self._reach.changed()

    def unhealthy(self, kind: str, probe: Probe, detail: str) -> None:
        self._end(f"its {kind} probe failed: {detail}", probe.termination_grace_s)

    # ------------------------------------------------------------------------------------- how it is asked

    async def _ask(self, probe: Probe) -> Result | None:
        if self._reach.paused():
            return None
        return await actions.check(probe.check, self._ways(), probe.timeout_s)

    async def _perform(self, action: Action, timeout_s: float | None) -> Result:
        try:
            return await actions.perform(action, self._ways(), timeout_s)
        except AgentError as error:
            return Result(False, error.message)

    def _ways(self) -> actions.Reach:
        async def start(command: tuple[str, ...]) -> ProcessAttachment:
            return await self._reach.outside.start_quietly(ExecSpec(command=command, stdin=True))

        return actions.Reach(self._execute, connect.through(start))

    async def _execute(self, command: tuple[str, ...], timeout_s: float | None) -> tuple[int, bytes]:
        attachment = await self._reach.execs.start_quietly(ExecSpec(command=command))
        try:
            async with asyncio.timeout(timeout_s):
                said = await asyncio.gather(_beginning(attachment, 1), _beginning(attachment, 2))
                return (await attachment.exit()).exit_status, b"".join(said)
        except BaseException:
            with contextlib.suppress(HyperError):
                await asyncio.shield(attachment.signal("KILL"))
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


async def _beginning(attachment: ProcessAttachment, channel: int) -> bytes:
    kept = b""
    while data := await attachment.read(channel):
        kept += data[: OUTPUT_MAX_BYTES - len(kept)]
    return kept
