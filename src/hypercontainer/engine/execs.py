"""The processes that ``hyper exec`` adds to a running container."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypercontainer.engine import names, plan
from hypercontainer.engine.process import Process, ProcessAttachment, outcome
from hypercontainer.errors import AgentError, Conflict
from hypercontainer.types.answers import ExecState, Exit
from hypercontainer.types.spec import ExecSpec

if TYPE_CHECKING:
    from hypercontainer.engine.container import Container

KEPT = 256  # of a container: the finished ones that can still be asked about


class Exec:
    def __init__(self, identifier: str, container: Container, spec: ExecSpec) -> None:
        self.id = identifier
        self.container = container
        self.spec = spec
        self.process: Process | None = None
        self.pid = 0
        self.exit_status: int | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.exit_status is None

    def state(self) -> ExecState:
        return ExecState(
            id=self.id,
            container=self.container.record.id,
            running=self.running,
            exit_status=self.exit_status,
            pid=self.pid,
            command=self.spec.command,
        )

    async def start(self) -> ProcessAttachment | None:
        """Executes the program; None where the client does not want to be attached."""
        if self.process is not None:
            raise Conflict(f"exec {self.id[:12]} was started before")
        container = self.container
        container.running_init()
        agent, number = container.pod.agent, container.pod.new_process_number()
        planned = plan.exec_process(
            self.spec, container.record.spec, container.record.effective, container.record.id, number
        )
        started = agent.start_process(planned)
        process = Process(agent, number, tty=self.spec.tty, stdin=self.spec.stdin, close_stdin=True)
        container.pod.add(process)
        self.process = process
        try:
            self.pid = await started
        except BaseException:
            self.exit_status = 126
            container.pod.forget(process)
            raise
        ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        attachment = None
        if not self.spec.detach:
            attachment = ProcessAttachment(ended, tty=self.spec.tty, stdin=self.spec.stdin)
            process.attach(attachment)
        process.open_output({})
        container.tell("exec_start", exec=self.id)
        container.execs.watch(self, process, ended)
        return attachment


class Execs:
    """Those of one container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._known: dict[str, Exec] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def create(self, spec: ExecSpec) -> Exec:
        self._container.running_init()
        made = Exec(names.new_id(), self._container, spec)
        self._known[made.id] = made
        idle = [known for known in self._known.values() if not known.running]
        for known in idle[: max(0, len(self._known) - KEPT)]:
            del self._known[known.id]
        return made

    def find(self, identifier: str) -> Exec | None:
        return self._known.get(identifier)

    def running(self) -> tuple[str, ...]:
        return tuple(known.id for known in self._known.values() if known.running)

    def watch(self, entry: Exec, process: Process, ended: asyncio.Future[Exit]) -> None:
        task = asyncio.create_task(self._watch(entry, process, ended))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    async def _watch(self, entry: Exec, process: Process, ended: asyncio.Future[Exit]) -> None:
        try:
            result = outcome(await process.finished())
        except AgentError as error:
            result = Exit(137, str(error))  # as if killed: the container it ran in is gone
        entry.exit_status = result.exit_status
        ended.set_result(result)
        container = self._container
        container.tell("exec_die", exec=entry.id, exit_status=str(result.exit_status))
        container.pod.forget(process)
        if container.alive:
            container.pod.release(process.number)
