"""Processes that are added to what runs: to a container, or to a VM beside its containers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from hypercontainer.agent.operations import ProcessPlan
from hypercontainer.contract.answers import ExecState, Exit
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine import names
from hypercontainer.engine.process.failed import exit_status
from hypercontainer.engine.process.process import Process, ProcessAttachment, outcome
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.errors import AgentError, Conflict

KEPT = 256  # of a container: the finished ones that can still be asked about

# For a process of this number; Conflict where nothing can be executed now.
Plan = Callable[[ExecSpec, int], ProcessPlan]


class Tell(Protocol):
    def __call__(self, action: str, /, **attributes: str) -> None: ...


class Exec:
    """One process, before, while and after it runs.  Use ``Execs.create``.  ``tell`` None: nobody is told of it."""

    def __init__(self, execs: Execs, spec: ExecSpec, tell: Tell | None) -> None:
        self.id = names.new_id()
        self.spec = spec
        self.process: Process | None = None
        self._execs = execs
        self._tell = tell
        self._live: Live | None = None
        self._pid = 0
        self._exit_status: int | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self._exit_status is None

    async def start(self) -> ProcessAttachment | None:
        """Executes the program; None where the client does not want to be attached.  GuestError, with its errno,
        where it cannot be executed."""
        ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        attachment = await self._start(ended)
        if self._tell is not None:
            self._tell(f"exec_start: {' '.join(self.spec.command)}", execID=self.id)
        self._execs.watch(self._watch(ended))
        return attachment

    async def _start(self, ended: asyncio.Future[Exit]) -> ProcessAttachment | None:
        if self.process is not None:
            raise Conflict(f"exec {self.id[:12]} was started before")
        planned, live = self._execs.plan(self.spec)
        started = live.agent.start_process(planned)
        process = Process(
            live.agent,
            planned.process,
            tty=self.spec.tty,
            stdin=self.spec.stdin,
            close_stdin=True,
            going=live.going,
        )
        live.add(process)
        self.process, self._live = process, live
        try:
            self._pid = await started
        except BaseException as error:
            self._exit_status = exit_status(error)
            live.forget(process)
            raise
        attachment = None
        if not self.spec.detach:
            attachment = ProcessAttachment(ended, tty=self.spec.tty, stdin=self.spec.stdin)
            process.attach(attachment)
        process.open_output({})
        return attachment

    async def _watch(self, ended: asyncio.Future[Exit]) -> None:
        process, live = self.process, self._live
        assert process is not None and live is not None
        try:
            result = outcome(await process.finished())
        except AgentError as error:
            # As if killed: what it ran in is gone.
            result = Exit(137, "" if live.ended_on_purpose else str(error))
        self._exit_status = result.exit_status
        if not ended.done():
            ended.set_result(result)
        if self._tell is not None:
            self._tell("exec_die", execID=self.id, exitCode=str(result.exit_status))
        live.forget(process)
        live.give_up(process.number)

    async def resize(self, rows: int, columns: int) -> None:
        if self.process is None or not self.running:
            raise Conflict(f"exec {self.id[:12]} is not running")
        if not self.spec.tty:
            raise Conflict(f"exec {self.id[:12]} has no terminal")
        await self.process.resize(rows, columns)

    async def inspect(self) -> ExecState:
        return ExecState(
            id=self.id,
            container=self._execs.owner,
            running=self.running,
            exit_status=self._exit_status,
            pid=self._pid,
            command=self.spec.command,
        )


class Execs:
    """Those of one container or VM, whose ID is ``owner``; ``live`` gives the VM that runs, or raises."""

    def __init__(self, owner: str, live: Callable[[], Live], plan: Plan, tell: Tell) -> None:
        self.owner = owner
        self.tell = tell
        self._live = live
        self._plan = plan
        self._known: dict[str, Exec] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def create(self, spec: ExecSpec) -> Exec:
        self._plan(spec, 1)
        made = Exec(self, spec, self.tell)
        self._known[made.id] = made
        idle = [known for known in self._known.values() if not known.running]
        for known in idle[: max(0, len(self._known) - KEPT)]:
            del self._known[known.id]
        return made

    def find(self, identifier: str) -> Exec | None:
        return self._known.get(identifier)

    def running(self) -> tuple[str, ...]:
        return tuple(known.id for known in self._known.values() if known.running)

    def quiet(self, spec: ExecSpec) -> Exec:
        """Nobody is told of it, and it is not kept."""
        return Exec(self, spec, None)

    async def start_quietly(self, spec: ExecSpec) -> ProcessAttachment:
        attachment = await self.quiet(spec).start()
        assert attachment is not None
        return attachment

    def plan(self, spec: ExecSpec) -> tuple[ProcessPlan, Live]:
        try:
            live = self._live()
        except AgentError:
            self._plan(spec, 1)  # says in the owner's own words why there is none
            raise
        return self._plan(spec, live.new_process_number()), live

    def watch(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)
