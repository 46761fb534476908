"""A guest without a VM: the agent's side of the contract in Python, with small scripted programs.

``FakeGuest.serve`` is one session on a stream pair, in the form that the fake hypervisor driver takes as its
guest; what the guest has (containers, processes, output that nobody acknowledged) outlives the session, as in a
real VM.  ``programs`` maps argv[0] to a coroutine, which gets the process and returns its exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fake_process import PROGRAMS, SIGKILL, FakeProcess, Program
from hypercontainer.agent.fields import decode, encode
from hypercontainer.agent.frames import (
    FROM_HOST,
    FrameReader,
    MessageReader,
    Received,
    frame,
    greeting,
    message,
)
from hypercontainer.agent.operations import (
    REQUESTS,
    ContainerDestroy,
    ContainerFreeze,
    ContainerName,
    ContainerOom,
    ContainerPlan,
    Failure,
    GuestLog,
    Nothing,
    Preparation,
    ProcessExited,
    ProcessName,
    ProcessPlan,
    ProcessResize,
    ProcessSignal,
    Started,
    Stat,
    StatList,
    StatsOf,
    Task,
    Tasks,
    Time,
    VmConfig,
    VolumeFreeze,
    VolumeGrow,
    VolumeName,
    VolumePlan,
    Welcome,
)
from hypercontainer.agent.wire import (
    CREDIT,
    EVENT,
    FRAME_MAX,
    REQUEST,
    RESPONSE,
    Event,
    Frame,
    Operation,
    Stream,
    split_stream_id,
    stream_id,
)
from hypercontainer.errors import AgentProtocolError

ENOENT, EBUSY, EEXIST, EINVAL, ESTALE = 2, 16, 17, 22, 116

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Guest = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def connected(guest: Guest) -> AsyncIterator[Pair]:
    """The host's end of a pipe that has ``guest`` at its other end."""
    host, far = socket.socketpair()
    served = asyncio.create_task(_serve(guest, far))
    pair = await asyncio.open_connection(sock=host)
    try:
        yield pair
    finally:
        pair[1].close()
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)


async def _serve(guest: Guest, sock: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        await guest(reader, writer)
    finally:
        writer.close()


class Refused(Exception):
    """What the guest answers a request with that it does not carry out."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno


MEMORY_VOLUME = "hyper.shm"  # every guest has it


class FakeGuest:
    """``requests`` lists every operation with its record, in order, for tests to look at."""

    def __init__(self, programs: dict[str, Program] | None = None, *, boot_s: float = 0.0) -> None:
        self.programs = {**PROGRAMS, **(programs or {})}
        self.boot_s = boot_s
        self.config: VmConfig | None = None
        self.containers: dict[str, ContainerPlan] = {}
        self.frozen: set[str] = set()
        self.volumes: dict[str, VolumePlan] = {}
        self.grown: dict[str, int] = {}
        self.still: set[str] = set()  # volumes that nothing is written to
        self.discarded: list[str] = []  # directories of disks
        self.processes: dict[int, FakeProcess] = {}
        self.requests: list[tuple[Operation, Any]] = []
        self.version = "fake"
        self.time_ns: int | None = None
        self.powered_off = asyncio.Event()
        self.session = 0
        self._writer: asyncio.StreamWriter | None = None
        self._changed = asyncio.Event()
        self._next_pid = 100
        self._messages = MessageReader()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with the host until it goes away, or has powered the VM off."""
        await asyncio.sleep(self.boot_s)
        frames = FrameReader(0, Frame.HELLO, FROM_HOST)
        self._writer = writer
        sender = asyncio.create_task(self._send_outputs(writer))
        try:
            while not self.powered_off.is_set() and (data := await reader.read(2 * FRAME_MAX)):
                rest: bytes = data
                while True:
                    try:
                        for received in frames.feed(rest):
                            self._take(received)
                        break
                    except AgentProtocolError:  # no frame: wait for the host's next session
                        self.session, rest = 0, b""
                        frames.hunt()
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            sender.cancel()
            self.session, self._writer = 0, None
            writer.close()

    async def stop(self) -> None:
        """End every program, as a VM that is switched off."""
        tasks = [process.task for process in self.processes.values() if process.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- sending

    def send(self, data: bytes) -> None:
        if self._writer is not None and self.session:
            self._writer.write(data)

    def changed(self) -> None:
        self._changed.set()

    def event(self, code: Event, record: ProcessExited | ContainerOom | GuestLog) -> None:
        self.send(message(self.session, Frame.EVENT, EVENT.pack(code, 0, 0) + encode(record)))

    def process_exited(self, process: FakeProcess) -> None:
        number, status = process.plan.process, process.wait_status or 0
        self.event(Event.PROCESS_EXITED, ProcessExited(number, status, process.exited_ns))
        if process.plan.init:
            for other in self._in(process.plan.container):
                other.kill(SIGKILL)
        self.changed()

    async def _send_outputs(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for process in list(self.processes.values()):
                for which, output in process.outputs.items():
                    while self.session and (item := output.next()) is not None:
                        stream = stream_id(process.plan.process, which)
                        writer.write(frame(self.session, item[0], stream, item[1]))
                        await writer.drain()

    # -- receiving

    def _take(self, received: Received) -> None:
        if received.type in (Frame.HELLO, Frame.REQUEST):
            whole = self._messages.add(received)
            if whole is not None:
                self._greet(whole) if received.type is Frame.HELLO else self._request(whole)
        elif received.type is Frame.PING:
            self.send(frame(self.session, Frame.PONG, payload=received.payload))
        elif received.type is not Frame.PONG:
            self._stream(received)

    def _greet(self, payload: bytes) -> None:
        self.session = int.from_bytes(payload[4:8], "little")
        self._messages = MessageReader()
        for process in self.processes.values():
            for output in process.outputs.values():
                output.new_session()
        states = tuple(process.state() for process in self.processes.values())
        welcome = Welcome(self.version, "6.1.0-fake", time.monotonic_ns(), tuple(self.containers), states)
        self.send(greeting(self.session, Frame.WELCOME, encode(welcome)))
        for process in self.processes.values():
            if process.plan.stdin and process.wait_status is None:
                process.send_input_credit()

    def _stream(self, received: Received) -> None:
        number, which = split_stream_id(received.stream)
        process = self.processes.get(number)
        if process is None:
            return  # the host may send credit before it hears that the process could not start
        if which == Stream.STDIN:
            if received.type is Frame.DATA:
                process.feed(received.payload)
            elif received.type is Frame.EOF:
                process.feed_eof()
        elif received.type is Frame.CREDIT and which in process.outputs:
            process.outputs[Stream(which)].credit(*CREDIT.unpack(received.payload))
            self.changed()

    def _request(self, payload: bytes) -> None:
        number, code, _ = REQUEST.unpack_from(payload)
        errno, answer = 0, None
        try:
            operation = Operation(code)
            record = decode(REQUESTS[operation], payload[REQUEST.size :])
            self.requests.append((operation, record))
            answer = getattr(self, f"_{operation.name.lower()}")(record)
        except Refused as refused:
            errno, answer = refused.errno, Failure(str(refused))
        except (AgentProtocolError, ValueError) as error:
            errno, answer = EINVAL, Failure(str(error))
        body = RESPONSE.pack(number, errno) + encode(answer or Nothing())
        self.send(message(self.session, Frame.RESPONSE, body))
        if isinstance(answer, Started):
            self._run(next(p for p in self.processes.values() if p.pid == answer.pid))

    def _run(self, process: FakeProcess) -> None:
        if process.plan.stdin:
            process.send_input_credit()
        program = self.programs[process.plan.args[0].rsplit("/", 1)[-1]]
        process.task = asyncio.create_task(process.run(program))

    def _in(self, container: str) -> list[FakeProcess]:
        return [p for p in self.processes.values() if p.plan.container == container and p.wait_status is None]

    def _process(self, number: int) -> FakeProcess:
        if number not in self.processes:
            raise Refused(ENOENT, f"no process {number}")
        return self.processes[number]

    def _container(self, name: str) -> ContainerPlan:
        if name not in self.containers:
            raise Refused(ENOENT, f"no container {name}")
        return self.containers[name]

    # -- operations

    def _configure(self, config: VmConfig) -> None:
        self.config = config

    def _container_create(self, plan: ContainerPlan) -> None:
        if plan.container in self.containers:
            raise Refused(EEXIST, f"container {plan.container} is there already")
        for name in _volumes_of(plan) - self.volumes.keys() - {MEMORY_VOLUME}:
            raise Refused(ENOENT, f"no volume {name}")
        self.containers[plan.container] = plan

    def _process_start(self, plan: ProcessPlan) -> Started:
        if plan.container or plan.tools:
            self._container(plan.container or plan.tools)
        if plan.process in self.processes:
            raise Refused(EEXIST, f"process {plan.process} was there before")
        if plan.args[0].rsplit("/", 1)[-1] not in self.programs:
            raise Refused(ENOENT, f"{plan.args[0]}: no such file or directory")
        self._next_pid += 1
        self.processes[plan.process] = FakeProcess(self, plan, self._next_pid)
        return Started(self._next_pid)

    def _process_signal(self, record: ProcessSignal) -> None:
        process = self._process(record.process)
        for target in self._in(process.plan.container) if record.all else [process]:
            target.kill(record.signal)

    def _process_resize(self, record: ProcessResize) -> None:
        process = self._process(record.process)
        process.rows, process.columns = record.rows, record.columns

    def _process_forget(self, record: ProcessName) -> None:
        if self._process(record.process).wait_status is None:
            raise Refused(EBUSY, f"process {record.process} runs")
        del self.processes[record.process]

    def _container_destroy(self, record: ContainerDestroy) -> None:
        plan = self._container(record.container)
        if record.discard and plan.upper is not None:
            self.discarded.append(plan.upper.directory)
        for process in self._in(record.container):
            process.kill(SIGKILL)
        del self.containers[record.container]
        self.frozen.discard(record.container)

    def _volume_add(self, plan: VolumePlan) -> None:
        if plan.name in self.volumes:
            raise Refused(EEXIST, f"volume {plan.name} is there already")
        if (plan.mount is None) == (plan.upper is None):
            raise Refused(EINVAL, f"volume {plan.name}: one of a file system and a disk's directory")
        self.volumes[plan.name] = plan

    def _volume_remove(self, record: VolumeName) -> None:
        if record.name not in self.volumes:
            raise Refused(ENOENT, f"no volume {record.name}")
        if any(record.name in _volumes_of(plan) for plan in self.containers.values()):
            raise Refused(EBUSY, f"volume {record.name} is in use")
        del self.volumes[record.name]

    def _volume_grow(self, record: VolumeGrow) -> None:
        if record.name not in self.volumes:
            raise Refused(ENOENT, f"no volume {record.name}")
        self.grown[record.name] = record.size_bytes

    def _volume_freeze(self, record: VolumeFreeze) -> None:
        if record.frozen == (record.name in self.still):
            raise Refused(EBUSY if record.frozen else ESTALE, f"volume {record.name}")
        (self.still.add if record.frozen else self.still.discard)(record.name)

    def _container_freeze(self, record: ContainerFreeze) -> None:
        self._container(record.container)
        (self.frozen.add if record.frozen else self.frozen.discard)(record.container)

    def _container_processes(self, record: ContainerName) -> Tasks:
        self._container(record.container)
        return Tasks(
            tuple(
                Task(pid=p.pid, parent=1, container_pid=1, state="S", command=" ".join(p.plan.args))
                for p in self._in(record.container)
            )
        )

    def _stats(self, record: StatsOf) -> StatList:
        running = len(self._in(record.container)) if record.container else len(self.processes)
        return StatList((Stat("cpu_ns", 1_000_000), Stat("memory_bytes", 1 << 20), Stat("pids", running)))

    def _shutdown(self, _: Nothing) -> None:
        for process in self.processes.values():
            process.kill(SIGKILL)
        self.powered_off.set()

    def _prepare(self, record: Preparation) -> None:
        pass  # the session's end is the host's to see: it opens the next

    def _set_time(self, record: Time) -> None:
        self.time_ns = record.time_ns


def _volumes_of(plan: ContainerPlan) -> set[str]:
    sources = (mount.source for mount in plan.mounts if mount.type == "bind")
    return {source.split("/", 1)[0] for source in sources if not source.startswith("/")}
