"""A container: its life from start to end, again and again, until it is removed, and all that may be asked of it.

One object per container, made when hyperd starts or the container is created.  ``_lock`` orders what users ask
for (start, stop, pause, remove, ...); a supervisor task per run waits for the process's end and puts things in
order, without the lock.

It knows the sandbox that it runs in and no pod: who is interested in it is told by ``news``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial

from hypercontainer.agent.operations import ProcessPlan, ProcessState, Welcome
from hypercontainer.contract.answers import Exit, Health
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.contract.states import State
from hypercontainer.engine import files, times, timings
from hypercontainer.engine.container import around
from hypercontainer.engine.container.care import DEFAULT_STOP_S, health_at_start
from hypercontainer.engine.container.clients import Clients
from hypercontainer.engine.container.looked import Looked
from hypercontainer.engine.container.restart import Backoff, wanted
from hypercontainer.engine.container.run import KILL, KILL_S, TERM, Body, GivenUp, Run
from hypercontainer.engine.container.ties import Ties
from hypercontainer.engine.container.updating import Updated
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.engine.network.network import own_address
from hypercontainer.engine.process.failed import exit_status
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.execs import Execs
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import Conflict, HyperError
from hypercontainer.linux import signals
from hypercontainer.linux.waiting import whole
from hypercontainer.semantics import docker
from hypercontainer.semantics.placing import placed

log = logging.getLogger(__name__)


class Container(Updated, Looked):
    def __init__(self, record: Kept[ContainerRecord], ties: Ties) -> None:
        super().__init__(record, ties)
        self._lock = asyncio.Lock()
        self._run: Run | None = None  # the present one, from its launch until its end
        self._clients = Clients()
        self._supervisor: asyncio.Task[None] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._deleting = False
        self._retries = False  # its restart policy starts it right now
        self._backoff = Backoff()
        self.execs = Execs(self.id, self.sandbox.running, self._exec_plan, self.tell)
        self.log = ContainerLog.open(ties.places.log(self.id), self.record.spec.log)
        begin = partial(self.change, begun=True)
        self._body = Body(
            record, ties, self.log, self._files, self.execs, self.tell, begin, self._note_health
        )
        self.recovered = asyncio.Event()
        self.recovered.set()

    # ------------------------------------------------------------------------------------- facts

    @property
    def begun(self) -> bool:
        """It runs, its startup probe has passed and its post_start hook is done."""
        return self.alive and self.record.begun

    @property
    def comes_back(self) -> bool:
        """Its restart policy is about to start it again."""
        return self.restarting or self._retries or self._run is not None

    @property
    def ready(self) -> bool:
        return self.alive and self._begun is not None and self._begun.ready

    @property
    def _begun(self) -> Run | None:
        """The present run, while its process runs."""
        return self._run if self._run is not None and self._run.begun else None

    @property
    def _alone(self) -> bool:
        return self.sandbox.record.value.alone

    def _running(self) -> Run:
        if self.record.state is State.PAUSED:
            self.sandbox.check_going()  # then it is the pod that is to be unpaused
            raise Conflict(f"{self.what} is paused", remedies=(self.remedy("unpause"),))
        if self._begun is None or self.record.state is not State.RUNNING:
            raise Conflict(f"{self.what} is not running", remedies=(self.remedy("start"),))
        return self._begun

    # ------------------------------------------------------------------------------------- start

    async def start(self) -> None:
        await self.start_in_turn(patient=False)

    async def start_in_turn(self, *, patient: bool) -> None:
        """``patient``: where its pod is paused, when it goes on."""
        async with self.sandbox.turn(self._lock, patient=patient):
            await self._order()
            if self.record.state is State.RUNNING:
                return
            if self.record.state is State.PAUSED:
                raise Conflict(f"{self.what} is paused", remedies=(self.remedy("unpause"),))
            await self._cancel_restart()
            self.change(stopped_by_user=False, restart_count=0)
            self._backoff = Backoff()
            await self._start()

    async def start_attached(self) -> ProcessAttachment:
        """Starts it with a client attached from the first byte on."""
        async with self.sandbox.turn(self._lock):
            await self._order()
            if self.alive:
                raise Conflict(f"{self.what} is already running")
            await self._cancel_restart()
            attachment = await self.attach()
            await self._start()
            return attachment

    async def _start(self) -> None:
        first = self.record.state is State.CREATED
        health = health_at_start(self.record)
        blank = {
            "error": "",
            "oom_killed": False,
            "over": False,
            "begun": False,
            "message": "",
            "health": health,
        }
        self.change(state=State.STARTING, run=self.record.run + 1, **blank)
        self.sandbox.join(self.id)
        self._run = run = Run(self._body)
        try:
            self.log.begin_run(self.record.run)
            await run.launch()
            self.change(state=State.RUNNING, started=times.now(), finished="")
            run.begin(self._clients.started())
        except BaseException as error:
            self._run = None
            await whole(self._start_failed(run, error, first=first))
            raise
        around.taken(self._ties.events, self.record, self.sandbox.record.value)
        self.tell("start", **timings.attributes(run.stopwatch.timings()))
        self._supervisor = asyncio.create_task(self._supervise(run), name=self.what)

    def _give_up_start(self) -> None:
        if self._run is not None:
            self._run.give_up()

    async def _start_failed(self, run: Run, error: BaseException, *, first: bool) -> None:
        await run.leave(orderly=False)
        message = str(error) or "whoever started it left before it ran"
        status = exit_status(error)
        state = State.CREATED if first and self.record.state is State.STARTING else State.EXITED
        # Of one that was given up the end of the run before it is told.
        told = {} if isinstance(error, GivenUp) else {"error": message, "exit_status": status}
        self.change(state=state, finished=times.now(), **told)
        if self.record.spec.auto_remove:
            await self._delete_quietly()
        self.log.end_run()
        self._clients.dismiss(Exit(status, message))

    # ------------------------------------------------------------------------------------- end

    async def _supervise(self, run: Run) -> None:
        """Waits for the end of this run and puts everything in order after it."""
        try:
            await self._finish(run)
        finally:
            self._run = None
            run.settled.set()

    async def _order(self) -> None:
        """With the lock: one that has ended just now is put in order first."""
        if self._run is not None and not self._run.begun:
            await self._run.settled.wait()

    @contextlib.asynccontextmanager
    async def _at_rest(self) -> AsyncIterator[bool]:
        async with contextlib.AsyncExitStack() as stack:
            if self._begun is None:
                await stack.enter_async_context(self._lock)
                await self._order()
                if self._deleting or self.removed.is_set():
                    raise Conflict(f"{self.what} is being removed")
            if self._begun is not None:
                await stack.aclose()
            yield self._begun is None

    async def _finish(self, run: Run) -> None:
        """Its state comes first: whoever learns of the end by an event, its log or an attachment finds it ended."""
        spec, ending = self.record.spec, await run.over()
        if ending.oom:
            self.sandbox.note_oom(self.id)
        self.change(**ending.facts)
        again = wanted(self.record)
        keeps_data, pod = self._ties.contents().keeps_data, self.sandbox.record.value
        await run.leave(orderly=not spec.auto_remove or keeps_data, comes_back=again and not self._alone)
        self.change(state=State.RESTARTING if again else State.EXITED, finished=times.now())
        around.given_back(self._ties.events, self.record, pod)
        ran_s = (times.to_ns(self.record.finished) - times.to_ns(self.record.started)) // 10**9
        self.tell("die", exitCode=str(ending.result.exit_status), execDuration=str(max(0, ran_s)))
        if spec.auto_remove:
            await self._delete_quietly()
        self.log.end_run()
        self._clients.conclude(timings.timed(ending.result, run.stopwatch, self.tell))
        if again:
            self._come_back()

    def _come_back(self) -> None:
        """A pod's VM waits for it, that of a container that is alone does not."""
        if not self._alone:
            self.sandbox.join(self.id)
        self._restart = asyncio.create_task(self._start_again(), name=f"restart of {self.what}")

    async def _start_again(self) -> None:
        delay_s = self._backoff.next_delay_s(self.record)
        await asyncio.sleep(delay_s)  # which the user asked for: no poll
        async with self.sandbox.turn(self._lock, patient=True):
            if self.record.state is not State.RESTARTING:
                return
            self._restart, self._retries = None, True
            try:
                self.change(restart_count=self.record.restart_count + 1)
                await self._start()
            except HyperError as error:
                log.warning("restart of %s: %s", self.what, error)
                if wanted(self.record):
                    self.change(state=State.RESTARTING)
                    self._come_back()
            finally:
                self._retries = False
                self._ties.news()

    async def _cancel_restart(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self.record.state is State.RESTARTING:
            self.change(state=State.EXITED)
            await Run(self._body).leave(orderly=True)

    # ------------------------------------------------------------------------------------- control

    async def stop(self, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        self._give_up_start()
        async with self._lock:
            await self._stop(timeout_s, signal)

    async def restart(self, *, timeout_s: int | None = None, signal: str | None = None) -> None:
        self._give_up_start()
        async with self.sandbox.turn(self._lock):
            await self._stop(timeout_s, signal)
            self.change(stopped_by_user=False)
            await self._start()
            self.tell("restart")

    async def _stop(self, timeout_s: int | None, signal: str | None) -> None:
        if self.alive or self.restarting:
            self.change(stopped_by_user=True)
        await self._order()
        await self._cancel_restart()
        if not self.alive or (run := self._begun) is None:
            return
        wish = self.record.spec.stop_timeout_s if timeout_s is None else timeout_s
        patience_s = DEFAULT_STOP_S if wish is None else wish
        async with self.sandbox.awake():
            await run.end(None if patience_s < 0 else patience_s, signal)
        self.tell("stop")

    async def kill(self, signal: str = "KILL") -> None:
        number = signals.parse(signal)
        run = self._run
        if (self.restarting and self._means_end(number)) or (
            run is not None and run.launching and number in (KILL, self._stop_signal)
        ):
            await self.stop(timeout_s=0)
            return
        if not self.alive or run is None or not run.begun:
            raise Conflict(f"{self.what} is not running")
        self._hear(number)
        async with self.sandbox.awake():
            await run.signal(number)
            self.tell("kill", signal=str(number))
            if number == KILL:
                await run.thaw()
                await run.ends_within(KILL_S)

    @property
    def _stop_signal(self) -> int:
        return signals.parse(self.record.effective.stop_signal)

    def _means_end(self, number: int) -> bool:
        """Whether a user who sends this signal wants the container ended for good, as dockerd takes it: by KILL, by its
        stop signal, and by any where nobody has said which that is."""
        said = self.record.spec.stop_signal is not None or self._stop_signal != TERM
        return not said or number in (KILL, self._stop_signal)

    def _hear(self, number: int) -> None:
        """A user sends it this signal."""
        if self.alive and self._means_end(number):
            self.change(stopped_by_user=True)

    async def pause(self) -> None:
        async with self._lock:
            self._running()
            await self.sandbox.running().freeze(self.id)
            self.change("pause", state=State.PAUSED)

    async def unpause(self) -> None:
        async with self._lock:
            if self.record.state is not State.PAUSED:
                raise Conflict(f"{self.what} is not paused")
            self.sandbox.check_going()
            await self.sandbox.agent.freeze(self.id, False)
            self.change("unpause", state=State.RUNNING)

    def _note_health(self, health: Health) -> None:
        before = self.record.health
        self.change(health=health)
        if before is None or health.status != before.status:
            self.tell(f"health_status: {health.status}")

    async def rename(self, name: str) -> None:
        old = self.record.name
        with self._ties.reserved(name):
            self.change(name=name)
        self.tell("rename", oldName=f"/{old}")

    async def resize(self, rows: int, columns: int) -> None:
        init = self._running().init
        if not init.tty:
            raise Conflict(f"{self.what} has no terminal", hint="it was created without one")
        await init.resize(rows, columns)
        self.tell("resize", height=str(rows), width=str(columns))

    async def exec_create(self, spec: ExecSpec) -> str:
        made = self.execs.create(spec)
        self.tell(f"exec_create: {' '.join(spec.command)}", execID=made.id)
        return made.id

    def _exec_plan(self, spec: ExecSpec, number: int) -> ProcessPlan:
        self._running()
        self._check_room()
        network = self.sandbox.network
        made = placed(self.record.effective, own_address(network), network.host)
        machine, trusts = self.sandbox.record.value.architecture, bool(network.authority)
        return docker.exec_process(spec, self.record.spec, made, self.id, number, machine, trusts=trusts)

    # ------------------------------------------------------------------------------------- attached

    async def attach(self, *, stdin: bool = True, logs: bool = False) -> ProcessAttachment:
        """To the process that runs, or to the next one.  ``logs``: all that is kept of earlier output comes first."""
        run = self._running() if self._begun is not None else None
        if logs:
            self._check_log()
        self.tell("attach")
        return self._clients.attach(
            None if run is None else run.init,
            self.record.spec,
            stdin=stdin,
            earlier=self.log.until_now() if logs else None,
            on_signal=self._hear,
        )

    # ------------------------------------------------------------------------------------- removal

    async def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """``volumes``: with those that came with it and that nobody has named."""
        if force:
            self._give_up_start()
            await self._evict()
        async with self._lock:
            if self._deleting:
                raise Conflict(f"{self.what} is already being removed")
            if self.alive and not force:
                remedies = (self.remedy("stop"), self.remedy("remove", force=True))
                raise Conflict(f"{self.what} is {self.record.state.value}", remedies=remedies)
            if self.alive:
                self.change(stopped_by_user=True)
                if self._run is not None:
                    await self._run.end_hard()
            await self._cancel_restart()
            if not self.removed.is_set():
                # Whoever breaks off waits for it: half removed it could neither be used nor removed.
                await whole(self.delete(volumes=volumes))
            self._clients.dismiss(Exit(self.record.exit_status, "the container was removed"))

    async def delete(self, *, begun: bool = False, volumes: bool = False) -> None:
        """The files first, the record last: what is interrupted here is finished by the next hyperd (``begun``)."""
        self._deleting = True
        try:
            await self._delete(begun=begun, volumes=volumes)
        finally:
            self._deleting = False

    async def _delete(self, *, begun: bool, volumes: bool) -> None:
        if self.alive:
            self.change(state=State.EXITED, finished=times.now())
        if not begun and self.record.state is not State.REMOVING:  # or an earlier try has failed
            self.change(state=State.REMOVING)
        if not self._alone and self.record.run and not self.record.spec.read_only:
            await self.sandbox.discard(self.id)
        await asyncio.to_thread(files.remove_tree, self._ties.places.container(self.id))
        self._ties.removed(self.record)
        if volumes or self.record.spec.auto_remove:
            await self._ties.drop_volumes(self.record)
        self.tell("destroy")
        self.removed.set()
        self._changed.set()
        self.log.close()
        if not self._alone:
            await self.sandbox.tidy(self._ties.contents())
            await self._ties.left()

    async def _delete_quietly(self) -> None:
        try:
            await self.delete()
        except HyperError as error:
            log.error("%s cannot be removed: %s", self.what, error)

    # ------------------------------------------------------------------------------------- another hyperd's containers

    def take_back(self, welcome: Welcome, init: ProcessState) -> None:
        """It runs: ``init`` is its process."""
        run = Run(self._body)
        run.take_back(welcome, init)
        self._run = run
        self.sandbox.join(self.id)
        self._supervisor = asyncio.create_task(self._supervise(run), name=self.what)

    def start_later(self) -> None:
        """Its restart policy starts it, now that hyperd runs again."""
        if self.record.state is State.EXITED:
            self.change(state=State.RESTARTING)
        self._come_back()

    async def close(self) -> None:
        """Lets go: hyperd ends, the container lives on."""
        if self._run is not None:
            await self._run.close()
        for task in (self._supervisor, self._restart):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.log.close()
