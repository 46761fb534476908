"""One run of a container: its first process is launched, cared for, asked to end; its end, and its last words."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from hypercontainer.agent.operations import ProcessState, Welcome
from hypercontainer.contract.answers import Exit, Health
from hypercontainer.contract.states import State
from hypercontainer.engine import times
from hypercontainer.engine.container import launch
from hypercontainer.engine.container.api_socket import ApiSocket
from hypercontainer.engine.container.care import Care, Reach
from hypercontainer.engine.container.files import Files
from hypercontainer.engine.container.last_words import last_words
from hypercontainer.engine.container.ties import Ties
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.engine.log.syslog import Forwarding, forwarding
from hypercontainer.engine.process.process import Process, ProcessAttachment, outcome
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.execs import Execs, Tell
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.sandbox.storage import asking
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.engine.timings import Stopwatch
from hypercontainer.errors import AgentError, Conflict, HyperError
from hypercontainer.linux import signals
from hypercontainer.semantics import docker

LOST = 255  # the exit status of a container whose VM was lost
KILL_S = 10.0
SIGNAL_S = 5.0  # a guest that takes longer to hear of a signal is not worth the wait
KILL, TERM = signals.parse("KILL"), signals.parse("TERM")
KILLED = 128 + KILL

logger = logging.getLogger(__name__)


class GivenUp(Conflict):
    """A start that a user has ended."""


@dataclass(frozen=True)
class Body:
    """A container, as its runs see it.  ``begin`` is told when one has begun for those who wait for that, ``health``
    what is known of its health."""

    record: Kept[ContainerRecord]
    ties: Ties
    log: ContainerLog
    files: Files
    execs: Execs
    tell: Tell
    begin: Callable[[], None]
    health: Callable[[Health], None]

    @property
    def sandbox(self) -> Sandbox:
        return self.ties.sandbox

    @property
    def id(self) -> str:
        return self.record.value.id

    @property
    def what(self) -> str:
        return f"container {self.record.value.name}"

    @cached_property
    def forwarding(self) -> Forwarding | None:
        """Where its output goes besides."""
        record = self.record.value
        return forwarding(record, asking(record.asked_by))

    @property
    def write_log(self) -> Callable[[int, bytes], None] | None:
        keep, further = self.log.append, self.forwarding
        if further is None:
            return None if self.record.value.spec.log.driver == "none" else keep

        def both(stream: int, data: bytes) -> None:
            keep(stream, data)
            further.append(stream, data)

        return both

    @property
    def paused(self) -> bool:
        return self.record.value.state is State.PAUSED

    def api_socket(self) -> ApiSocket | None:
        """Of a run that begins, if it is to have one."""
        path, creator = self.record.value.spec.api_socket, self.record.value.asked_by
        if path is None or creator is None:
            return None
        return ApiSocket(self.id, self.what, self.sandbox, path, partial(self.ties.api, creator))


@dataclass(frozen=True)
class Ending:
    """``message``: the program's last words."""

    result: Exit
    oom: bool
    message: str

    @property
    def facts(self) -> dict[str, Any]:
        """As the record has them."""
        told = {"exit_status": self.result.exit_status, "error": self.result.error}
        return {**told, "oom_killed": self.oom, "message": self.message, "over": True}


class Run:
    """``settled`` is set by its owner when the run is over and everything after it is done."""

    def __init__(self, body: Body) -> None:
        self.stopwatch = Stopwatch()
        self.settled = asyncio.Event()
        self.init: Process
        self._body = body
        self._care: Care | None = None
        self._api = body.api_socket()
        self._ended = False
        self._killed = False  # from outside, because a user wanted it
        self._launching: asyncio.Task[Process] | None = None

    @property
    def begun(self) -> bool:
        """Its process runs, as far as is known."""
        return self._care is not None and not self._ended

    @property
    def ready(self) -> bool:
        return self._care is not None and self._care.is_ready

    # ------------------------------------------------------------------------------------- its beginning

    async def launch(self) -> None:
        """A task, so that whoever wants an end of the container does not wait for a guest that hangs."""
        body = self._body
        if body.forwarding is not None:
            await body.forwarding.open()
        start = launch.start(
            body.sandbox,
            body.ties.contents,
            body.record.value,
            body.write_log,
            self.stopwatch,
            before=self._api.open if self._api else None,
        )
        self._launching = task = asyncio.create_task(start, name=f"start of {body.what}")
        try:
            await asyncio.wait([task])
        finally:
            self._launching = None
            if task.cancel():
                await asyncio.wait([task])
            if body.forwarding is not None and (task.cancelled() or task.exception()):
                await body.forwarding.close()
        if task.cancelled():
            raise GivenUp(f"{body.what} was ended while it was starting")
        self.init = task.result()

    @property
    def launching(self) -> bool:
        return self._launching is not None

    def give_up(self) -> None:
        """Its launch."""
        if self._launching is not None:
            self._launching.cancel()

    def begin(self, attachments: Iterable[ProcessAttachment]) -> None:
        """Lets its output flow to these clients, and has it cared for."""
        for attachment in attachments:
            self.init.attach(attachment)
        self.init.open_output({})
        self._look_after()

    def take_back(self, welcome: Welcome, state: ProcessState) -> None:
        """An earlier hyperd began it: ``state`` is its process."""
        body, record, live = self._body, self._body.record.value, self._body.sandbox.running()
        offsets = body.log.offsets(record.run)
        self.init = launch.resume(live, record.spec, state, offsets, body.write_log)
        launch.drain_others(live, welcome, record.id, state.process)
        if self._api is not None:
            self._api.open_again()
        ran_s = (time.time_ns() - times.to_ns(record.started)) / 1e9 if record.started else 0.0
        self._look_after(running_for_s=max(ran_s, 0.001))

    def _look_after(self, *, running_for_s: float = 0.0) -> None:
        body = self._body
        reach = Reach(
            what=body.what,
            execs=body.execs,
            outside=Execs(body.id, body.sandbox.running, docker.vm_process, body.tell),
            paused=lambda: body.paused or body.sandbox.stalled,
            begin=body.begin,
            changed=body.ties.news,
            health=body.health,
            end=lambda grace_s: self.end(grace_s, None),
            tell=body.tell,
        )
        self._care = Care(body.record.value, reach, running_for_s=running_for_s)

    # ------------------------------------------------------------------------------------- its end

    async def over(self) -> Ending:
        """Waits for its end; all output is in the log then, and its guest still has its files."""
        body = self._body
        try:
            ended = await self.init.finished()
            result, oom = outcome(ended), ended.oom or body.id in body.sandbox.oom_killed
        except AgentError as lost:
            await body.sandbox.ended()
            result, oom = Exit(KILLED) if self._killed else Exit(LOST, lost.message), False
        self.stopwatch.lap("run")
        if body.forwarding is not None:
            await body.forwarding.close()
        if self._care is not None and (unhealthy := await self._care.close()):
            result = Exit(result.exit_status, unhealthy)
        spec = body.record.value.spec
        async with body.sandbox.awake():
            message = await last_words(spec, body.files, body.log, result.exit_status)
        self._ended = True
        return Ending(result, oom, message)

    async def _leave_api(self) -> None:
        if self._api is not None:
            await self._api.close()

    async def end(self, patience_s: float | None, signal: str | None) -> None:
        """By its pre_stop hook and its stop signal, and within ``patience_s`` (None: whenever it likes)."""
        body = self._body
        number = signals.parse(signal or body.record.value.effective.stop_signal)
        begun = time.monotonic()
        if self._care is not None:
            await self._care.before_stop(patience_s)
        if self.settled.is_set():
            return
        if patience_s == 0 and body.sandbox.stalled:  # it hears nothing until there is room on the host
            number = KILL
        with contextlib.suppress(AgentError):
            # A program that has just begun, and has no handler yet, hears it later.
            await self.init.agent.signal(self.init.number, number, patient=True, timeout_s=SIGNAL_S)
            body.tell("kill", signal=str(number))
            await self.thaw()
        left_s = None if patience_s is None else max(0.0, patience_s - (time.monotonic() - begun))
        if await self.ends_within(left_s):
            return
        with contextlib.suppress(AgentError):
            await self.signal(KILL, timeout_s=SIGNAL_S)
            body.tell("kill", signal=str(KILL))
        if not await self.ends_within(KILL_S):
            logger.warning("%s does not end; it is ended from outside", body.what)
            await self.end_hard()

    async def end_hard(self) -> None:
        """Whatever it does: by its VM, if that is for nobody else."""
        self._killed = True
        async with self._body.sandbox.awake():  # until its last output is out
            await self._end_hard()
            await self.settled.wait()

    async def _end_hard(self) -> None:
        body = self._body
        if body.sandbox.used_by_others(body.id) or body.ties.contents().keeps_data:
            with contextlib.suppress(AgentError):
                await body.sandbox.agent.destroy_container(body.id)
                return
        await body.sandbox.end(orderly=False)

    async def leave(self, *, orderly: bool, comes_back: bool = False) -> None:
        """The sandbox; one that ``comes_back`` keeps its VM."""
        body = self._body
        await self._leave_api()
        fresh = comes_back and body.record.value.spec.restart.backoff == "kubernetes"
        try:
            await body.sandbox.leave(body.id, orderly=orderly, comes_back=comes_back, fresh=fresh)
        except HyperError as error:
            logger.error("%s: its VM cannot be ended: %s", body.what, error)

    async def signal(self, number: int, *, timeout_s: float = KILL_S) -> None:
        sandbox = self._body.sandbox
        if number == KILL and sandbox.stalled and not sandbox.used_by_others(self._body.id):
            self._killed = True
            await sandbox.end(orderly=False)
            return
        await self.init.agent.signal(self.init.number, number, timeout_s=timeout_s)

    async def thaw(self) -> None:
        """What is frozen hears no signal."""
        if self._body.paused:
            await self._body.sandbox.agent.freeze(self._body.id, False)

    async def ends_within(self, timeout_s: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.settled.wait()
                return True
        return False

    async def close(self) -> None:
        """Lets go: the process lives on."""
        await self._leave_api()
        if self._body.forwarding is not None:
            await self._body.forwarding.close()
        if self._care is not None:
            await self._care.close()
