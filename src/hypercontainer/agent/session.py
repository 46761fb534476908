"""``Agent``: one session with the guest's agent.

Calling an operation sends it, at once and in the order of the calls; the future it returns is the answer.  So a
cold start is one burst (HELLO, configure, create, start) into the pipe of a VM that has not booted yet, and the
answers are awaited later.  Each has its own deadline, AgentTimeout; GuestError where the guest says no.

The guest is not trusted.  Whatever it sends outside the contract closes this session with AgentProtocolError,
and nothing else: memory is bounded by the streams' windows, the message limit and fixed queues, and unasked
chatter by ``Budget``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from asyncio import Future
from collections.abc import Callable
from typing import Any

from hypercontainer.agent.channel import Channel
from hypercontainer.agent.fields import decode, encode
from hypercontainer.agent.frames import FROM_GUEST, FrameReader, MessageReader, Received, frame, greeting
from hypercontainer.agent.operations import (
    ContainerDestroy,
    ContainerFreeze,
    ContainerName,
    ContainerOom,
    ContainerPlan,
    DiskCorrupted,
    Event,
    GuestLog,
    Nothing,
    Preparation,
    ProcessExited,
    ProcessName,
    ProcessPlan,
    ProcessResize,
    ProcessSignal,
    Started,
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
from hypercontainer.agent.requests import Budget, Call, Requests
from hypercontainer.agent.stats import Stats
from hypercontainer.agent.streams import InputStream, OutputStream, Sink
from hypercontainer.agent.wire import (
    CREDIT,
    EVENT,
    GREETING,
    VERSION,
    Frame,
    Operation,
    Stream,
    split_stream_id,
    stream_id,
)
from hypercontainer.agent.wire import Event as EventCode
from hypercontainer.errors import (
    AgentError,
    AgentProtocolError,
    AgentTimeout,
    GuestError,
    InvalidArgument,
    NotFound,
    StreamClosed,
    Unavailable,
)

DEFAULT_TIMEOUT_S = 30.0
# Pings and events that nobody asked for.  An exit per process comes on top.
CHATTER_PER_S = 256
CHATTER_BURST = 4096
PINGS_MAX = 16
EARLIER_AGENTS = frozenset({"0.1.0"})

_EVENTS: dict[int, type[ProcessExited] | type[ContainerOom] | type[GuestLog] | type[DiskCorrupted]] = {
    EventCode.PROCESS_EXITED: ProcessExited,
    EventCode.OOM: ContainerOom,
    EventCode.LOG: GuestLog,
    EventCode.CORRUPTED: DiskCorrupted,
}


class _Process:
    """What the session knows of one process."""

    def __init__(self) -> None:
        self.outputs: dict[int, OutputStream] = {}
        self.input: InputStream | None = None
        self.exited = False

    def close(self, reason: AgentError) -> None:
        for output in self.outputs.values():
            output.close(reason)
        if self.input is not None:
            self.input.close(reason)


class Agent:
    """One session.  Use ``Agent.open``."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_event = on_event
        self.session = secrets.randbelow((1 << 32) - 1) + 1
        self._messages = MessageReader()
        self._channel = Channel(
            FrameReader(self.session, Frame.WELCOME, FROM_GUEST), self._frame, self._channel_closed
        )
        self._requests = Requests(self._channel, self.session)
        self._processes: dict[int, _Process] = {}
        self._pings: dict[bytes, Future[None]] = {}
        self._chatter = Budget(CHATTER_PER_S, CHATTER_BURST)
        self._welcome: Future[Welcome] = self._loop.create_future()
        self._welcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._closed: Future[AgentError] = self._loop.create_future()

    @classmethod
    def open(
        cls,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        resumed: bool,
        on_event: Callable[[Event], None],
    ) -> Agent:
        """Begin a session on a connected pipe, and own the pipe from now on.  Does not wait.

        ``resumed``: another session may have been cut on this pipe.  ``on_event`` is called from the event loop
        and may not block.  ``reader`` is not read: the session reads from the transport itself.
        """
        agent = cls(on_event)
        agent._channel.take_over(writer)
        agent._channel.send(greeting(agent.session, Frame.HELLO, encode(Nothing()), padded=resumed))
        return agent

    # -- the session

    async def welcome(self, timeout_s: float) -> Welcome:
        """What the guest has, once it has answered.  May be asked again."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._welcome)
        except TimeoutError:
            raise AgentTimeout(f"the guest's agent did not answer within {timeout_s:g} s") from None

    async def closed(self) -> AgentError:
        """Why the session ended, once it has."""
        return await asyncio.shield(self._closed)

    def close(self, reason: AgentError | None = None) -> None:
        """End the session now.  The guest goes on, and waits for the next one."""
        self._channel.abort(reason or AgentError("the session was closed"))

    def excuse(self, silence: bool) -> None:
        """Whether the VM stands still: a guest that does so in the middle of a frame breaks nothing."""
        self._channel.excuse(silence)

    async def ping(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Returns when the guest has answered; a guest that does not is closed."""
        if (reason := self._channel.closed_because) is not None:
            raise reason
        if len(self._pings) >= PINGS_MAX:
            raise AgentTimeout(f"{PINGS_MAX} pings are unanswered")
        token = secrets.token_bytes(8)
        self._pings[token] = answered = self._loop.create_future()
        self._channel.send(frame(self.session, Frame.PING, payload=token))
        try:
            async with asyncio.timeout(timeout_s):
                await answered
        except TimeoutError:
            error = AgentTimeout(f"the guest's agent did not answer a ping within {timeout_s:g} s")
            self.close(error)
            raise error from None

    # -- operations

    def configure(self, config: VmConfig, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        return self._do(Operation.CONFIGURE, "the VM", config, timeout_s)

    @property
    def _earlier(self) -> bool:
        """Whether the guest was booted by a release whose agent knows no fields that came since, and refuses them."""
        return self._welcome.done() and self._welcome.result().agent in EARLIER_AGENTS

    def create_container(self, plan: ContainerPlan, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        if self._earlier:
            plan = dataclasses.replace(plan, cwd=None)
        return self._do(Operation.CONTAINER_CREATE, plan.container, plan, timeout_s)

    def start_process(self, plan: ProcessPlan, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[int]:
        """The process's PID in the VM.  Its streams may be attached at once; if it cannot start they end."""
        if plan.process in self._processes:
            raise InvalidArgument(f"process {plan.process} was started before")

        def then(error: GuestError | None) -> None:
            if error is not None:
                self._drop(plan.process, error)

        name = repr(plan.args[0]) if plan.args else "a process"
        call = Call(Operation.PROCESS_START, name, plan, Started, lambda answer: answer.pid, then)
        started = self._requests.send(call, timeout_s)
        process = self._processes[plan.process] = _Process()
        if plan.stdin:
            process.input = self._input(plan.process)
        return started

    def signal(
        self,
        process: int,
        signal: int,
        *,
        all: bool = False,  # noqa: A002 - the wire's name for it
        patient: bool = False,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Future[None]:
        """``all``: every process of the container whose init this is.  ``patient``: one that does not hear it yet gets
        it when it does, where the guest knows how; the answer does not wait for that."""
        record = ProcessSignal(process, signal, all, patient and not self._earlier)
        return self._do(Operation.PROCESS_SIGNAL, f"process {process}", record, timeout_s)

    def resize(
        self, process: int, rows: int, columns: int, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Future[None]:
        record = ProcessResize(process, rows, columns)
        return self._do(Operation.PROCESS_RESIZE, f"process {process}", record, timeout_s)

    def forget(self, process: int, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """Give up an exited process and what its streams still hold."""

        def then(error: GuestError | None) -> None:
            if error is None:
                self._drop(process, AgentError(f"process {process} was given up"))

        for which in Stream:
            self._channel.drop_credit(stream_id(process, which))
        record = ProcessName(process)
        return self._do(Operation.PROCESS_FORGET, f"process {process}", record, timeout_s, then)

    def destroy_container(
        self, container: str, *, discard: bool = False, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Future[None]:
        """Kills what runs in it and syncs its disk, or with ``discard`` removes its directory from that.  Its
        processes still are to be forgotten."""
        record = ContainerDestroy(container, discard)
        return self._do(Operation.CONTAINER_DESTROY, container, record, timeout_s)

    def add_volume(self, plan: VolumePlan, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """Mounts it in the VM.  Containers created after this call may bind it, also before the answer."""
        if self._earlier:
            plan = dataclasses.replace(plan, tidy=False, grow=False)
        return self._do(Operation.VOLUME_ADD, f"volume {plan.name}", plan, timeout_s)

    def remove_volume(self, name: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """Writes it back and unmounts it.  Refused (EBUSY) while a container has it."""
        return self._do(Operation.VOLUME_REMOVE, f"volume {name}", VolumeName(name), timeout_s)

    def grow_volume(
        self, name: str, size_bytes: int, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Future[None]:
        """Its ext4, to all of a disk that has got so many bytes."""
        return self._do(Operation.VOLUME_GROW, f"volume {name}", VolumeGrow(name, size_bytes), timeout_s)

    def freeze_volume(
        self, name: str, limit_ms: int, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Future[None]:
        """What was written is on its disk, in order, and nothing more is written for so long at most.  Asked again, it
        is that long from then on; ESTALE where it was over before."""
        record = VolumeFreeze(name, True, limit_ms)
        return self._do(Operation.VOLUME_FREEZE, f"volume {name}", record, timeout_s)

    def thaw_volume(self, name: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """ESTALE where it was frozen no more: what has been read of its disk is of no use then."""
        return self._do(Operation.VOLUME_FREEZE, f"volume {name}", VolumeFreeze(name), timeout_s)

    def freeze(self, container: str, frozen: bool, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """Answers when everything in the container stands still, or runs again."""
        record = ContainerFreeze(container, frozen)
        return self._do(Operation.CONTAINER_FREEZE, container, record, timeout_s)

    def tasks(self, container: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[tuple[Task, ...]]:
        record = ContainerName(container)
        call = Call(Operation.CONTAINER_PROCESSES, container, record, Tasks, lambda answer: answer.tasks)
        return self._requests.send(call, timeout_s)

    def stats(self, container: str | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[Stats]:
        """Of a container, or of the VM."""
        call = Call(Operation.STATS, container or "the VM", StatsOf(container), StatList, Stats.of)
        return self._requests.send(call, timeout_s)

    def shutdown(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """Answered before the guest kills everything, syncs and powers off."""
        return self._do(Operation.SHUTDOWN, "the VM", Nothing(), timeout_s)

    def set_time(self, time_ns: int, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        return self._do(Operation.SET_TIME, "the VM", Time(time_ns), timeout_s)

    def prepare(self, plan: Preparation, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Future[None]:
        """Makes the VM ready to be saved and cloned; the session is over with the answer."""
        return self._do(Operation.PREPARE, "the VM", plan, timeout_s)

    def _do(
        self,
        operation: Operation,
        what: str,
        record: Any,
        timeout_s: float,
        then: Callable[[GuestError | None], None] | None = None,
    ) -> Future[None]:
        return self._requests.send(Call(operation, what, record, Nothing, _no_result, then), timeout_s)

    # -- streams

    def attach_output(self, process: int, which: int, offset: int, sink: Sink) -> OutputStream:
        """Have a stream's bytes from ``offset`` on passed to ``sink``.  Once per stream and session.

        A process that another session began must have been named in WELCOME, which has been awaited.
        """
        known = self._known(process)
        if which not in (Stream.STDOUT, Stream.STDERR) or which in known.outputs:
            raise InvalidArgument(f"process {process}: stream {which} is no output, or attached already")
        stream = stream_id(process, Stream(which))
        output = OutputStream(self._channel, self.session, stream, offset, sink)
        known.outputs[which] = output
        if (reason := self._channel.closed_because) is not None:
            output.close(reason)
        return output

    def input(self, process: int) -> InputStream:
        """The process's standard input: the same object at every call."""
        found = self._known(process).input
        if found is None:
            raise InvalidArgument(f"process {process} was started without standard input")
        return found

    def _known(self, process: int) -> _Process:
        known = self._processes.get(process)
        if known is None:
            raise NotFound(f"process {process} is not of this session")
        return known

    def _input(self, process: int) -> InputStream:
        stream = InputStream(self._channel, self.session, stream_id(process, Stream.STDIN))
        if (reason := self._channel.closed_because) is not None:
            stream.close(reason)
        return stream

    def _drop(self, process: int, error: AgentError) -> None:
        if (known := self._processes.pop(process, None)) is not None:
            known.close(error)

    # -- what comes from the guest

    def _frame(self, received: Received) -> None:
        kind = received.type
        if kind is Frame.DATA or kind is Frame.EOF or kind is Frame.CREDIT or kind is Frame.RESET:
            self._stream_frame(received)
        elif kind is Frame.PING:
            self._chatter.spend("pings")
            try:
                self._channel.send(frame(self.session, Frame.PONG, payload=received.payload))
            except Unavailable as error:
                raise AgentProtocolError(f"a flood of pings: {error.message}") from None
        elif kind is Frame.PONG:
            answered = self._pings.pop(received.payload, None)
            if answered is None:
                raise AgentProtocolError(f"an answer to a ping that was not sent: {received.payload.hex()}")
            if not answered.done():
                answered.set_result(None)
        else:
            whole = self._messages.add(received)
            if whole is None:
                return
            if not self._welcome.done():
                self._take_welcome(kind, whole)
            elif kind is Frame.RESPONSE:
                self._requests.answer(whole)
            elif kind is Frame.EVENT:
                self._take_event(whole)
            else:
                raise AgentProtocolError("a second greeting in one session")

    def _stream_frame(self, received: Received) -> None:
        number, which = split_stream_id(received.stream)
        process = self._processes.get(number)
        if process is None:
            raise AgentProtocolError(f"{received.type.name} on unknown stream {received.stream}")
        if which == Stream.STDIN and received.type in (Frame.CREDIT, Frame.RESET):
            self._input_frame(number, process.input, received)
            return
        if (output := process.outputs.get(which)) is not None:
            if received.type is Frame.DATA:
                output.data(received.payload)
                return
            if received.type is Frame.EOF:
                output.end()
                return
        raise AgentProtocolError(f"{received.type.name} on stream {received.stream}, which takes none")

    def _input_frame(self, process: int, stdin: InputStream | None, received: Received) -> None:
        if stdin is None:  # a process without input has a stream that is closed
            self._chatter.spend("frames of a closed stream")
        elif received.type is Frame.CREDIT:
            stdin.credit(*CREDIT.unpack(received.payload))
        else:
            stdin.close(StreamClosed(f"process {process} has closed its input"))

    def _take_welcome(self, kind: Frame, payload: bytes) -> None:
        if kind is not Frame.WELCOME or len(payload) < GREETING.size:
            raise AgentProtocolError(f"a {kind.name} message where a greeting is due")
        version, session = GREETING.unpack_from(payload)
        if version != VERSION or session != self.session:
            raise AgentProtocolError(f"the guest's agent speaks version {version}, hyperd speaks {VERSION}")
        welcome = decode(Welcome, memoryview(payload)[GREETING.size :])
        for state in welcome.processes:
            process = self._processes.setdefault(state.process, _Process())
            process.exited = state.exited
            stdin = next(
                (s for s in state.streams if s.stream == stream_id(state.process, Stream.STDIN)), None
            )
            if stdin is not None and process.input is None:
                process.input = self._input(state.process)
                if stdin.at_eof or state.exited:
                    process.input.close(StreamClosed(f"process {state.process} has closed its input"))
        self._welcome.set_result(welcome)

    def _take_event(self, payload: bytes) -> None:
        if len(payload) < EVENT.size:
            raise AgentProtocolError(f"an event of {len(payload)} bytes")
        code, zero, zero_too = EVENT.unpack_from(payload)
        record = _EVENTS.get(code)
        if record is None or zero or zero_too:
            raise AgentProtocolError(f"unknown event {code}")
        event = decode(record, memoryview(payload)[EVENT.size :])
        if isinstance(event, ProcessExited) and not self._exited(event):
            return
        if not isinstance(event, ProcessExited):
            self._chatter.spend("events")
        self._on_event(event)

    def _exited(self, event: ProcessExited) -> bool:
        """Whether this is news."""
        process = self._processes.get(event.process)
        if process is None:
            raise AgentProtocolError(f"the exit of process {event.process}, which was not started")
        if process.exited:
            self._chatter.spend("events")
            return False
        process.exited = True
        if process.input is not None:
            process.input.close(StreamClosed(f"process {event.process} has exited"))
        return True

    def _channel_closed(self, reason: AgentError) -> None:
        if not self._welcome.done():
            self._welcome.set_exception(reason)
        self._requests.close(reason)
        for answered in self._pings.values():
            if not answered.done():
                answered.set_exception(reason)
        for process in self._processes.values():
            process.close(reason)
        self._closed.set_result(reason)


def _no_result(_: Nothing) -> None:
    return None
