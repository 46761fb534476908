"""The processes that ``hyper exec`` adds to a running container, or to a pod's VM beside its containers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from hypercontainer.agent.operations import ProcessPlan
from hypercontainer.contract.answers import ExecState, Exit
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine import names
from hypercontainer.engine.container.process import Process, ProcessAttachment, outcome
from hypercontainer.errors import AgentError, Conflict

if TYPE_CHECKING:
    from hypercontainer.engine.pod.pod import Pod

KEPT = 256  # of a container: the finished ones that can still be asked about


class Owner(Protocol):
    """What processes are added to."""

    @property
    def id(self) -> str: ...
    @property
    def pod(self) -> Pod: ...
    def exec_plan(self, spec: ExecSpec, number: int) -> ProcessPlan:
        """Conflict where nothing can be executed now."""

    def tell(self, action: str, /, **attributes: str) -> None: ...


class Exec:
    def __init__(self, identifier: str, owner: Owner, spec: ExecSpec) -> None:
        self.id = identifier
        self.owner = owner
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
            container=self.owner.id,
            running=self.running,
            exit_status=self.exit_status,
            pid=self.pid,
            command=self.spec.command,
        )

    async def start(self, ended: asyncio.Future[Exit]) -> ProcessAttachment | None:
        """Executes the program; None where the client does not want to be attached.  ``ended``: for `Execs`."""
        if self.process is not None:
            raise Conflict(f"exec {self.id[:12]} was started before")
        pod = self.owner.pod
        number = pod.new_process_number()
        planned = self.owner.exec_plan(self.spec, number)
        agent = pod.agent
        started = agent.start_process(planned)
        process = Process(agent, number, tty=self.spec.tty, stdin=self.spec.stdin, close_stdin=True)
        pod.add(process)
        self.process = process
        try:
            self.pid = await started
        except BaseException:
            self.exit_status = 126
            pod.forget(process)
            raise
        attachment = None
        if not self.spec.detach:
            attachment = ProcessAttachment(ended, tty=self.spec.tty, stdin=self.spec.stdin)
            process.attach(attachment)
        process.open_output({})
        return attachment


class Execs:
    """Those of one container or VM.  ``quiet``: nobody is told of them, and none is kept."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._known: dict[str, Exec] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    def create(self, spec: ExecSpec) -> Exec:
        self._owner.exec_plan(spec, 1)
        made = Exec(names.new_id(), self._owner, spec)
        self._known[made.id] = made
        idle = [known for known in self._known.values() if not known.running]
        for known in idle[: max(0, len(self._known) - KEPT)]:
            del self._known[known.id]
        return made

    def find(self, identifier: str) -> Exec | None:
        return self._known.get(identifier)

    def running(self) -> tuple[str, ...]:
        return tuple(known.id for known in self._known.values() if known.running)

    async def start(self, entry: Exec) -> ProcessAttachment | None:
        return await self._start(entry, quiet=False)

    async def start_quietly(self, spec: ExecSpec) -> ProcessAttachment:
        attachment = await self._start(Exec(names.new_id(), self._owner, spec), quiet=True)
        assert attachment is not None
        return attachment

    async def _start(self, entry: Exec, *, quiet: bool) -> ProcessAttachment | None:
        ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        attachment = await entry.start(ended)
        if not quiet:
            self._owner.tell("exec_start", exec=entry.id)
        assert entry.process is not None
        task = asyncio.create_task(self._watch(entry, entry.process, ended, quiet=quiet))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)
        return attachment

    async def _watch(
        self, entry: Exec, process: Process, ended: asyncio.Future[Exit], *, quiet: bool
    ) -> None:
        try:
            result = outcome(await process.finished())
        except AgentError as error:
            result = Exit(137, str(error))  # as if killed: what it ran in is gone
        entry.exit_status = result.exit_status
        if not ended.done():
            ended.set_result(result)
        if not quiet:
            self._owner.tell("exec_die", exec=entry.id, exit_status=str(result.exit_status))
        pod = self._owner.pod
        pod.forget(process)
        pod.release(process.number)
