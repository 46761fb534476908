"""A container at run time: its life from start to end, again and again, until it is removed.

One object per container, made when hyperd starts or the container is created.  ``_lock`` orders what users ask
for (start, stop, pause, remove, ...); a supervisor task per run waits for the process's end and puts things in
order, without the lock.  ``outcome`` is the future of the present run's end, everything after it included.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from hypercontainer.agent.operations import ProcessPlan, ProcessState, Welcome
from hypercontainer.contract.answers import Exit
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.contract.states import ALIVE, State, moved
from hypercontainer.engine import files, times
from hypercontainer.engine.container import launch, timings
from hypercontainer.engine.container.care import DEFAULT_STOP_S, Care
from hypercontainer.engine.container.execs import Execs
from hypercontainer.engine.container.last_words import last_words
from hypercontainer.engine.container.process import Process, ProcessAttachment, outcome
from hypercontainer.engine.container.recovery import LOST, recover
from hypercontainer.engine.container.restart import Backoff, wanted
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.engine.parts import Parts
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import AgentError, Conflict, HyperError
from hypercontainer.linux import signals
from hypercontainer.semantics import docker as plan

KILL_S = 10.0
SIGNAL_S = 5.0  # a guest that takes longer to hear of a signal is not worth the wait

log = logging.getLogger(__name__)


class Container:
    def __init__(
        self, record: ContainerRecord, pod: Pod, parts: Parts, on_removed: Callable[[Container], None]
    ) -> None:
        self.record = record
        self.pod = pod
        self._parts = parts
        self._on_removed = on_removed
        self._lock = asyncio.Lock()
        self._launching: asyncio.Task[Process] | None = None
        self._init: Process | None = None
        self._outcome: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._waiting: list[ProcessAttachment] = []  # clients that attached before the start
        self._supervisor: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._care: Care | None = None  # of the present run
        self._stopwatch = timings.Stopwatch()  # of the present run
        self._changed = asyncio.Event()
        self.execs = Execs(self)
        self.log = ContainerLog.open(parts.container_dir(record.id) / "log", record.spec.log)
        self.removed = asyncio.Event()
        self.recovered = asyncio.Event()
        self.recovered.set()

    # ------------------------------------------------------------------------------------- facts

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def what(self) -> str:
        return f"container {self.record.name}"

    @property
    def alive(self) -> bool:
        return self.record.state in ALIVE

    @property
    def restarting(self) -> bool:
        return self.record.state is State.RESTARTING

    @property
    def begun(self) -> bool:
        """It runs, its startup probe has passed and its post_start hook is done."""
        return self.alive and self.record.begun

    @property
    def comes_back(self) -> bool:
        """Its restart policy is about to start it again."""
        return self.restarting or (self._supervisor is not None and not self._supervisor.done())

    @property
    def ready(self) -> bool:
        return self.alive and self._care is not None and self._care.is_ready

    @property
    def _write_log(self) -> Callable[[int, bytes], None] | None:
        return None if self.record.spec.log.driver == "none" else self.log.append

    def running_init(self) -> Process:
        if self.record.state is State.PAUSED:
            raise Conflict(f"{self.what} is paused", hint="`hyper unpause` it first")
        if self._init is None or self.record.state is not State.RUNNING:
            raise Conflict(f"{self.what} is not running", hint=f"`hyper start {self.record.name}`")
        return self._init

    def exec_plan(self, spec: ExecSpec, number: int) -> ProcessPlan:
        """For `execs.Owner`."""
        self.running_init()
        return plan.exec_process(spec, self.record.spec, self.record.effective, self.record.id, number)

    def change(self, action: str = "", /, **changes: Any) -> None:
        """Writes down new facts; ``action`` is told to those who follow events."""
        if "state" in changes:
            moved(self.record.state, changes["state"], what=self.what)
        self.record = msgspec.structs.replace(self.record, **changes)
        self._parts.state.put_container(self.record)
        self._changed.set()
        self.pod.poke()
        if action:
            self.tell(action)

    def tell(self, action: str, /, **attributes: str) -> None:
        record = self.record
        told = {**record.labels, "name": record.name, "image": record.image, **attributes}
        self._parts.events.publish("container", action, record.id, **told)

    # ------------------------------------------------------------------------------------- start

    async def start(self) -> None:
        async with self._lock:
            if self.record.state is State.RUNNING:
                return
            if self.record.state is State.PAUSED:
                raise Conflict(f"{self.what} is paused", hint="`hyper unpause` it")
            await self._cancel_restart()
            self.change(stopped_by_user=False, restart_count=0)
            self._backoff = Backoff()
            await self._start()

    async def start_attached(self) -> ProcessAttachment:
        """Starts it with a client attached from the first byte on."""
        async with self._lock:
            if self.alive:
                raise Conflict(f"{self.what} is already running")
            await self._cancel_restart()
            attachment = self.attach(stdin=True)
            await self._start()
            return attachment

    async def _start(self) -> None:
        first = self.record.state is State.CREATED
        self.pod.join(self.id)
        self._stopwatch = timings.Stopwatch()
        self.log.begin_run(self.record.run + 1)
        self.change(
            state=State.STARTING, run=self.record.run + 1, error="", oom_killed=False, begun=False, message=""
        )
        try:
            self._init = await self._launch()
        except BaseException as error:
            await asyncio.shield(self._start_failed(error, first=first))
            raise
        self.change(state=State.RUNNING, started=times.now(), finished="")
        self.tell("start", **timings.attributes(self._stopwatch.timings()))
        for attachment in self._waiting:
            self._init.attach(attachment)
        self._waiting.clear()
        self._init.open_output({})
        self._supervisor = asyncio.create_task(self._supervise(self._init), name=self.what)
        self._care = Care(self)

    async def _launch(self) -> Process:
        """A task, so that whoever wants an end of the container does not wait for a guest that hangs."""
        start = launch.start(self.pod, self.record, self._parts, self._write_log, self._stopwatch)
        self._launching = task = asyncio.create_task(start, name=f"start of {self.what}")
        try:
            await asyncio.wait([task])
        finally:
            self._launching = None
            if task.cancel():
                await asyncio.wait([task])
        if task.cancelled():
            raise Conflict(f"{self.what} was ended while it was starting")
        return task.result()

    def _give_up_start(self) -> None:
        if self._launching is not None:
            self._launching.cancel()

    async def _start_failed(self, error: BaseException, *, first: bool) -> None:
        await self._leave(orderly=False)
        self.log.end_run()
        message = str(error) or "whoever started it left before it ran"
        status = launch.exit_status(error)
        self.change(
            state=State.CREATED if first else State.EXITED,
            error=message,
            exit_status=status,
            finished=times.now(),
        )
        if self.record.spec.auto_remove:
            await self._delete_quietly()
        self._dismiss(Exit(status, message))

    def _dismiss(self, result: Exit) -> None:
        """Tells the clients that wait for a start that there is none."""
        for attachment in self._waiting:
            attachment.end_output()
        self._waiting.clear()
        self._conclude(result)

    def _conclude(self, result: Exit) -> None:
        """This run and all that follows it is over; the next has a future of its own."""
        concluded, self._outcome = self._outcome, asyncio.get_running_loop().create_future()
        if not concluded.done():
            concluded.set_result(result)

    async def _leave(self, *, orderly: bool, comes_back: bool = False) -> None:
        fresh = comes_back and self.record.spec.restart.backoff == "kubernetes"
        try:
            await self.pod.leave(self.id, orderly=orderly, comes_back=comes_back, fresh=fresh)
        except HyperError as error:
            log.error("%s: its VM cannot be ended: %s", self.what, error)

    async def _end_hard(self) -> None:
        """Ends it whatever it does: by its VM, if that is for nobody else."""
        if self.pod.used_by_others(self.record.id) or self.pod.keeps_data:
            with contextlib.suppress(AgentError):
                await self.pod.agent.destroy_container(self.record.id)
                return
        await self.pod.end(orderly=False)

    # ------------------------------------------------------------------------------------- end

    async def _supervise(self, process: Process) -> None:
        """Waits for the end of this run and puts everything in order after it."""
        record = self.record
        try:
            ended = await process.finished()
            result, oom = outcome(ended), ended.oom or record.id in self.pod.oom_killed
        except AgentError as lost:
            await self.pod.ended()
            result, oom = Exit(LOST, lost.message), False
        self._stopwatch.lap("run")
        if unhealthy := await self._end_care():
            result = Exit(result.exit_status, unhealthy)
        self._init = None
        self.log.end_run()
        discard = record.spec.auto_remove
        message = await last_words(self, result.exit_status)
        self.pod.note_oom(record.id, oom)
        self.change(exit_status=result.exit_status, error=result.error, oom_killed=oom, message=message)
        again = wanted(self.record)
        await self._leave(orderly=not discard or self.pod.keeps_data, comes_back=again and self.pod.named)
        self.tell("die", exit_status=str(result.exit_status))
        if discard:
            await self._delete_quietly()
        else:
            self.change(state=State.RESTARTING if again else State.EXITED, finished=times.now())
        self._conclude(timings.timed(result, self._stopwatch, self.tell))
        if again and not discard:
            self._come_back()

    async def _end_care(self) -> str:
        """Why the run is ended, where a probe or hook does it."""
        care, self._care = self._care, None
        return "" if care is None else await care.close()

    def _come_back(self) -> None:
        """A named pod's VM waits for it, that of a container that is alone does not."""
        if self.pod.named:
            self.pod.join(self.record.id)
        self._restart = asyncio.create_task(self._start_again(), name=f"restart of {self.what}")

    async def _start_again(self) -> None:
        await asyncio.sleep(
            self._backoff.next_delay_s(self.record)
        )  # a delay that the user asked for, not a poll
        async with self._lock:
            if self.record.state is not State.RESTARTING:
                return
            self._restart = None
            self.change(restart_count=self.record.restart_count + 1)
            try:
                await self._start()
            except HyperError as error:
                log.warning("restart of %s: %s", self.what, error)
                if wanted(self.record):
                    self.change(state=State.RESTARTING)
                    self._come_back()

    async def _cancel_restart(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self.record.state is State.RESTARTING:
            self.change(state=State.EXITED)
            await self._leave(orderly=True)

    # ------------------------------------------------------------------------------------- control

    async def stop(self, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        self._give_up_start()
        async with self._lock:
            await self._stop(timeout_s, signal)

    async def restart(self, *, timeout_s: int | None = None) -> None:
        self._give_up_start()
        async with self._lock:
            await self._stop(timeout_s, None)
            self.change(stopped_by_user=False)
            await self._start()
            self.tell("restart")

    async def _stop(self, timeout_s: int | None, signal: str | None) -> None:
        await self._cancel_restart()
        if not self.alive or self._init is None:
            return
        self.change(stopped_by_user=True)
        if timeout_s is None:
            timeout_s = self.record.spec.stop_timeout_s
        patience_s = DEFAULT_STOP_S if timeout_s is None else timeout_s
        await self.end_init(None if patience_s < 0 else patience_s, signal)
        self.tell("stop")

    async def end_init(self, patience_s: float | None, signal: str | None) -> None:
        """By its pre_stop hook and its stop signal, and within ``patience_s`` (None: whenever it likes)."""
        number = signals.parse(signal or self.record.effective.stop_signal)
        begun = time.monotonic()
        if self._care is not None:
            await self._care.before_stop(patience_s)
        if self._init is None:
            return
        agent, init = self.pod.agent, self._init
        with contextlib.suppress(AgentError):
            await agent.signal(init.number, number, timeout_s=SIGNAL_S)
            if self.record.state is State.PAUSED:
                await agent.freeze(self.record.id, False)
        left_s = None if patience_s is None else max(0.0, patience_s - (time.monotonic() - begun))
        if await self._ends_within(left_s):
            return
        with contextlib.suppress(AgentError):
            await agent.signal(init.number, signals.parse("KILL"), timeout_s=SIGNAL_S)
        if not await self._ends_within(KILL_S):
            log.warning("%s does not end; it is ended from outside", self.what)
            await self._end_hard()
            await self._settled()

    async def _ends_within(self, timeout_s: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled()
                return True
        return False

    async def _settled(self) -> None:
        """Waits until this run is over and everything after it is done."""
        if self._supervisor is not None:
            await asyncio.shield(self._supervisor)

    async def kill(self, signal: str) -> None:
        number = signals.parse(signal)
        if self._launching is not None and number == signals.parse("KILL"):
            await self.stop(timeout_s=0)
            return
        if not self.alive or self._init is None:
            raise Conflict(f"{self.what} is not running")
        if number == signals.parse("KILL"):
            self.change(stopped_by_user=True)
        await self.pod.agent.signal(self._init.number, number)
        self.tell("kill", signal=str(number))
        if number == signals.parse("KILL"):
            if self.record.state is State.PAUSED:
                await self.pod.agent.freeze(self.record.id, False)
            await self._ends_within(KILL_S)

    async def pause(self) -> None:
        async with self._lock:
            self.running_init()
            await self.pod.agent.freeze(self.record.id, True)
            self.change("pause", state=State.PAUSED)

    async def unpause(self) -> None:
        async with self._lock:
            if self.record.state is not State.PAUSED:
                raise Conflict(f"{self.what} is not paused")
            await self.pod.agent.freeze(self.record.id, False)
            self.change("unpause", state=State.RUNNING)

    def attach(self, *, stdin: bool) -> ProcessAttachment:
        """To the process that runs, or to the next one."""
        spec = self.record.spec
        attachment = ProcessAttachment(self._outcome, tty=spec.tty, stdin=stdin and spec.stdin_open)
        if self._init is not None:
            self.running_init().attach(attachment)
        else:
            self._waiting = [*(waiting for waiting in self._waiting if not waiting.left), attachment]
        return attachment

    async def wait(self, condition: str) -> Exit:
        if condition == "removed":
            await self.removed.wait()
        elif condition == "next-exit":
            run = self.record.run + (0 if self.alive else 1)
            while self.record.run < run or self.alive:
                await self._change()
        else:
            while self.alive or self.restarting:
                await self._change()
        return Exit(self.record.exit_status, self.record.error)

    async def next_run(self, after: int) -> bool:
        """Waits for the run that follows that one; False where there will be none."""
        while self.record.run <= after and (self.alive or self.restarting):
            await self._change()
        return self.record.run > after

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    # ------------------------------------------------------------------------------------- removal

    async def remove(self, *, force: bool) -> None:
        if force:
            self._give_up_start()
        async with self._lock:
            if self.record.state is State.REMOVING:
                raise Conflict(f"{self.what} is already being removed")
            if self.alive and not force:
                hint = "stop it first, or remove it with --force"
                raise Conflict(f"{self.what} is {self.record.state.value}", hint=hint)
            if self.alive:
                self.change(stopped_by_user=True)
                await self._end_hard()
                await self._settled()
            await self._cancel_restart()
            if not self.removed.is_set():
                await self.delete()
            self._dismiss(Exit(self.record.exit_status, "the container was removed"))

    async def delete(self, *, begun: bool = False) -> None:
        """The files first, the record last: what is interrupted here is finished by the next hyperd (``begun``)."""
        if not begun:
            self.change(state=State.REMOVING)
        self.log.close()
        await self.pod.discard(self.record)
        await asyncio.to_thread(files.remove_tree, self._parts.container_dir(self.record.id))
        self._parts.state.remove(self.record, with_pod=not self.pod.named)
        self.tell("destroy")
        self.removed.set()
        self._on_removed(self)
        await self.pod.tidy()

    async def _delete_quietly(self) -> None:
        try:
            if self.record.state in ALIVE:
                self.change(state=State.EXITED, finished=times.now())
            await self.delete()
        except HyperError as error:
            log.error("%s cannot be removed: %s", self.what, error)

    # ------------------------------------------------------------------------------------- another hyperd's containers

    def begin_recovery(self) -> asyncio.Task[None]:
        """Takes the container back; ``recovered`` is set when that has come to an end, whichever."""
        self.recovered.clear()
        self._supervisor = asyncio.create_task(recover(self), name=f"recovery of {self.what}")
        return self._supervisor

    def take_back(self, welcome: Welcome, init: ProcessState) -> None:
        """It runs: ``init`` is its process."""
        record = self.record
        self.pod.join(record.id)
        self._init = launch.resume(self.pod, record, init, self.log.offsets(record.run), self._write_log)
        launch.drain_others(self.pod, welcome, record.id, init.process)
        ran_s = (time.time_ns() - times.to_ns(record.started)) / 1e9 if record.started else 0.0
        self._care = Care(self, running_for_s=max(ran_s, 0.001))
        self._supervisor = asyncio.create_task(self._supervise(self._init), name=self.what)

    def start_later(self) -> None:
        """Its restart policy starts it, now that hyperd runs again."""
        if self.record.state is State.EXITED:
            self.change(state=State.RESTARTING)
        self._come_back()

    async def close(self) -> None:
        """Lets go: hyperd ends, the container lives on."""
        await self._end_care()
        for task in (self._supervisor, self._restart):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.log.close()
