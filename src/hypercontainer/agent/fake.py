"""A guest without a VM: the agent's side of the contract in Python, with small scripted programs.

``FakeGuest.serve`` is one session on a stream pair, in the form that the fake hypervisor driver takes as its
guest; what the guest has (containers, processes, output that nobody acknowledged) outlives the session, as in a
real VM.  ``programs`` maps argv[0] to a coroutine, which gets the process and returns its exit status.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

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
    ContainerFreeze,
    ContainerName,
    ContainerOom,
    ContainerPlan,
    ContainerUpdate,
    Failure,
    GuestLog,
    Nothing,
    ProcessExited,
    ProcessName,
    ProcessPlan,
    ProcessResize,
    ProcessSignal,
    ProcessState,
    Started,
    Stat,
    StatList,
    StatsOf,
    StreamState,
    Task,
    Tasks,
    Time,
    VmConfig,
    Welcome,
)
from hypercontainer.agent.wire import (
    CREDIT,
    EVENT,
    FRAME_MAX,
    INPUT_WINDOW,
    OUTPUT_WINDOW,
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

EBUSY, EEXIST, EINVAL, ENOENT, EPIPE = 16, 17, 22, 2, 32
SIGKILL = 9
IGNORED_SIGNALS = frozenset({17, 18, 23, 28})  # CHLD CONT URG WINCH

Program = Callable[["FakeProcess"], Awaitable[int]]


class Refused(Exception):
    """What the guest answers a request with that it does not carry out."""

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno


class _Output:
    """Bytes from ``acked`` on that the host has not acknowledged; ``sent`` is None without a first CREDIT."""

    def __init__(self) -> None:
        self.held = bytearray()
        self.acked = 0
        self.sent: int | None = None
        self.limit = 0
        self.eof = False
        self.eof_sent = False
        self.room = asyncio.Event()

    @property
    def end(self) -> int:
        return self.acked + len(self.held)

    def new_session(self) -> None:
        self.sent, self.limit, self.eof_sent = None, 0, False

    def credit(self, acknowledged: int, limit: int) -> None:
        if not self.acked <= acknowledged <= self.end:
            raise AgentProtocolError(f"credit from {acknowledged}, have {self.acked} to {self.end}")
        del self.held[: acknowledged - self.acked]
        self.acked = acknowledged
        self.sent = acknowledged if self.sent is None else self.sent
        self.limit = limit
        self.room.set()

    def next(self) -> tuple[Frame, bytes] | None:
        if self.sent is None:
            return None
        begin = self.sent - self.acked
        part = bytes(self.held[begin : begin + min(FRAME_MAX, self.limit - self.sent)])
        if part:
            self.sent += len(part)
            return Frame.DATA, part
        if self.eof and not self.eof_sent and self.sent == self.end:
            self.eof_sent = True
            return Frame.EOF, b""
        return None


class FakeProcess:
    """A running program's view of its process, and the guest's."""

    def __init__(self, guest: FakeGuest, plan: ProcessPlan, pid: int) -> None:
        self.plan = plan
        self.pid = pid
        self.rows, self.columns = plan.rows, plan.columns
        self.signals: asyncio.Queue[int] = asyncio.Queue()
        self.catches: frozenset[int] = frozenset()  # signals that do not end it
        self.wait_status: int | None = None
        self.exited_ns = 0
        self.outputs = {Stream.STDOUT: _Output()} | ({} if plan.tty else {Stream.STDERR: _Output()})
        self.task: asyncio.Task[None] | None = None
        self._guest = guest
        self._input = bytearray()
        self._input_at = 0  # bytes the program has read
        self._input_eof = not plan.stdin
        self._input_there = asyncio.Event()
        self._killed_by = 0

    async def write(self, data: bytes, which: Stream = Stream.STDOUT) -> None:
        """Waits while the host has not acknowledged enough of what was written before."""
        output = self.outputs.get(which, self.outputs[Stream.STDOUT])
        while data:
            while len(output.held) >= OUTPUT_WINDOW:
                output.room.clear()
                await output.room.wait()
            part = data[: OUTPUT_WINDOW - len(output.held)]
            output.held += part
            data = data[len(part) :]
            self._guest.changed()

    async def read(self) -> bytes:
        """Some input, b"" at its end."""
        while not self._input and not self._input_eof:
            self._input_there.clear()
            await self._input_there.wait()
        data = bytes(self._input)
        self._input.clear()
        self._input_at += len(data)
        if data:
            self._guest.send_input_credit(self)
        return data

    def close_input(self) -> None:
        """As a program does that closes its standard input."""
        self._input_eof = True
        if self.plan.stdin:
            self._guest.send(
                frame(self._guest.session, Frame.RESET, stream_id(self.plan.process, Stream.STDIN))
            )

    # -- the guest's side

    @property
    def input_received(self) -> int:
        return self._input_at + len(self._input)

    @property
    def input_limit(self) -> int:
        return self._input_at + INPUT_WINDOW

    def feed(self, data: bytes) -> None:
        if self.input_received + len(data) > self.input_limit:
            raise AgentProtocolError("input beyond its credit")
        if not self._input_eof:
            self._input += data
            self._input_there.set()

    def feed_eof(self) -> None:
        self._input_eof = True
        self._input_there.set()

    def kill(self, signal: int) -> None:
        if self.wait_status is not None or signal == 0 or signal in IGNORED_SIGNALS:
            return
        if signal in self.catches and signal != SIGKILL:
            self.signals.put_nowait(signal)
        elif self.task is not None:
            self._killed_by = signal
            self.task.cancel()

    async def run(self, program: Program) -> None:
        status = 0
        try:
            status = (await program(self) & 0xFF) << 8
        except asyncio.CancelledError:
            status = self._killed_by or SIGKILL
        except BrokenPipeError:
            status = 13
        self.wait_status, self.exited_ns = status, time.time_ns()
        for output in self.outputs.values():
            output.eof = True
        self._guest.process_exited(self)

    def state(self) -> ProcessState:
        streams = [
            StreamState(stream_id(self.plan.process, which), output.acked, output.end, output.eof)
            for which, output in self.outputs.items()
        ]
        if self.plan.stdin:
            at = self.input_received
            streams.insert(
                0, StreamState(stream_id(self.plan.process, Stream.STDIN), at, at, self._input_eof)
            )
        return ProcessState(
            container=self.plan.container,
            process=self.plan.process,
            pid=self.pid,
            init=self.plan.init,
            exited=self.wait_status is not None,
            wait_status=self.wait_status or 0,
            time_ns=self.exited_ns,
            streams=tuple(streams),
        )


class FakeGuest:
    """``requests`` lists every operation with its record, in order, for tests to look at."""

    def __init__(self, programs: dict[str, Program] | None = None, *, boot_s: float = 0.0) -> None:
        self.programs = {**PROGRAMS, **(programs or {})}
        self.boot_s = boot_s
        self.config: VmConfig | None = None
        self.containers: dict[str, ContainerPlan] = {}
        self.frozen: set[str] = set()
        self.processes: dict[int, FakeProcess] = {}
        self.requests: list[tuple[Operation, Any]] = []
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

    def send_input_credit(self, process: FakeProcess) -> None:
        stream = stream_id(process.plan.process, Stream.STDIN)
        payload = CREDIT.pack(process.input_received, process.input_limit)
        self.send(frame(self.session, Frame.CREDIT, stream, payload))

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
        welcome = Welcome("fake", "6.1.0-fake", time.monotonic_ns(), tuple(self.containers), states)
        self.send(greeting(self.session, Frame.WELCOME, encode(welcome)))
        for process in self.processes.values():
            if process.plan.stdin and process.wait_status is None:
                self.send_input_credit(process)

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
            record = decode(_RECORDS[operation], payload[REQUEST.size :])
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
            self.send_input_credit(process)
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
        self.containers[plan.container] = plan

    def _process_start(self, plan: ProcessPlan) -> Started:
        self._container(plan.container)
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

    def _container_destroy(self, record: ContainerName) -> None:
        self._container(record.container)
        for process in self._in(record.container):
            process.kill(SIGKILL)
        del self.containers[record.container]
        self.frozen.discard(record.container)

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

    def _container_update(self, record: ContainerUpdate) -> None:
        self._container(record.container)

    def _shutdown(self, _: Nothing) -> None:
        for process in self.processes.values():
            process.kill(SIGKILL)
        self.powered_off.set()

    def _set_time(self, record: Time) -> None:
        self.time_ns = record.time_ns


_RECORDS: dict[Operation, type[Any]] = {
    Operation.CONFIGURE: VmConfig,
    Operation.CONTAINER_CREATE: ContainerPlan,
    Operation.PROCESS_START: ProcessPlan,
    Operation.PROCESS_SIGNAL: ProcessSignal,
    Operation.PROCESS_RESIZE: ProcessResize,
    Operation.PROCESS_FORGET: ProcessName,
    Operation.CONTAINER_DESTROY: ContainerName,
    Operation.CONTAINER_FREEZE: ContainerFreeze,
    Operation.CONTAINER_PROCESSES: ContainerName,
    Operation.STATS: StatsOf,
    Operation.CONTAINER_UPDATE: ContainerUpdate,
    Operation.SHUTDOWN: Nothing,
    Operation.SET_TIME: Time,
}


# ---------------------------------------------------------------------------------------- programs


async def _true(_: FakeProcess) -> int:
    return 0


async def _false(_: FakeProcess) -> int:
    return 1


async def _exit(process: FakeProcess) -> int:
    return int(process.plan.args[1])


async def _echo(process: FakeProcess) -> int:
    await process.write(os.fsencode(" ".join(process.plan.args[1:])) + b"\n")
    return 0


async def _fail(process: FakeProcess) -> int:
    await process.write(os.fsencode(" ".join(process.plan.args[1:])) + b"\n", Stream.STDERR)
    return 1


async def _cat(process: FakeProcess) -> int:
    while data := await process.read():
        await process.write(data)
    return 0


async def _sleep(process: FakeProcess) -> int:
    text = process.plan.args[1] if len(process.plan.args) > 1 else "inf"
    await asyncio.sleep(10**8 if text in ("inf", "infinity") else float(text))
    return 0


async def _env(process: FakeProcess) -> int:
    await process.write(b"".join(os.fsencode(item) + b"\n" for item in process.plan.env))
    return 0


async def _trap(process: FakeProcess) -> int:
    """Exits with 0 at SIGTERM, having said so."""
    process.catches = frozenset({15})
    await process.write(b"ready\n")
    signal = await process.signals.get()
    await process.write(b"signal %d\n" % signal)
    return 0


PROGRAMS: dict[str, Program] = {
    "true": _true,
    "false": _false,
    "exit": _exit,
    "echo": _echo,
    "fail": _fail,
    "cat": _cat,
    "sleep": _sleep,
    "env": _env,
    "trap": _trap,
}
