"""Processes of the fake guest: their streams as the wire contract has them, and small scripted programs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from hypercontainer.agent.frames import frame
from hypercontainer.agent.operations import ProcessPlan, ProcessState, StreamState
from hypercontainer.agent.wire import CREDIT, FRAME_MAX, INPUT_WINDOW, OUTPUT_WINDOW, Frame, Stream, stream_id
from hypercontainer.errors import AgentProtocolError

SIGKILL, SIGPIPE = 9, 13
IGNORED_SIGNALS = frozenset({17, 18, 23, 28})  # CHLD CONT URG WINCH

Program = Callable[["FakeProcess"], Awaitable[int]]


class Guest(Protocol):
    """What a process needs of its guest."""

    @property
    def session(self) -> int: ...
    def send(self, data: bytes) -> None: ...
    def changed(self) -> None:
        """There is output to send."""

    def process_exited(self, process: FakeProcess) -> None: ...


class Output:
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

    def __init__(self, guest: Guest, plan: ProcessPlan, pid: int) -> None:
        self.plan = plan
        self.pid = pid
        self.rows, self.columns = plan.rows, plan.columns
        self.signals: asyncio.Queue[int] = asyncio.Queue()
        self.catches: frozenset[int] = frozenset()  # signals that do not end it
        self.wait_status: int | None = None
        self.exited_ns = 0
        self.outputs = {Stream.STDOUT: Output()} | ({} if plan.tty else {Stream.STDERR: Output()})
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
            self.send_input_credit()
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

    def send_input_credit(self) -> None:
        stream = stream_id(self.plan.process, Stream.STDIN)
        payload = CREDIT.pack(self.input_received, self.input_limit)
        self._guest.send(frame(self._guest.session, Frame.CREDIT, stream, payload))

    def feed_eof(self) -> None:
        self._input_eof = True
        self._input_there.set()

    def kill(self, signal: int) -> None:
        if self.wait_status is not None or signal == 0 or signal in IGNORED_SIGNALS:
            return
        if signal in self.catches and signal != SIGKILL:
            self.signals.put_nowait(signal)
        elif self.task is not None and not self._killed_by:
            self._killed_by = signal
            self.task.cancel()

    async def run(self, program: Program) -> None:
        status = 0
        try:
            status = (await program(self) & 0xFF) << 8
        except asyncio.CancelledError:
            status = self._killed_by or SIGKILL
        except BrokenPipeError:
            status = SIGPIPE
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
    "hyper-connect": _cat,  # to a port that echoes
}
