"""A connection that goes on as frames: attach, run, exec (docs/api.md, "Frames").

One task per channel and direction.  A channel's sender waits for the other side's credit, so what is held here
of any channel is bounded by its window, and a client that does not read one channel stalls that one only.
Whoever breaks the rules of the frames is told so and cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from hypercontainer.contract import frames
from hypercontainer.contract.answers import Created, Exit
from hypercontainer.contract.calls import Control
from hypercontainer.contract.images import LayerProgress
from hypercontainer.contract.reading import why
from hypercontainer.engine.interface import Attachment, ProgressSink
from hypercontainer.engine.pipes import Bytes
from hypercontainer.errors import AgentError, Conflict, HyperError, InvalidArgument, StreamClosed
from hypercontainer.surfaces.http.board import Board
from hypercontainer.surfaces.http.connection import ClientGone, drain
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of, leaf
from hypercontainer.surfaces.hyper.progress import sink

logger = logging.getLogger(__name__)

READ_BYTES = 65536
CREDIT_AT_BYTES = frames.WINDOW_BYTES // 4  # credit is given in pieces of at least this much
MAX_CONTROLS = 64  # waiting to be carried out; a client that sends more waits
CLOSE_S = 5.0

# What makes the process whose streams are carried: told of the container once it is made, and of progress.
Begin = Callable[[Callable[[Created], None], ProgressSink], Awaitable[Attachment]]


def broken(what: str) -> InvalidArgument:
    """What a client is told that breaks the rules of the frames."""
    return InvalidArgument(f"frame: {what}")


class Window:
    """What may still be sent of one channel."""

    def __init__(self) -> None:
        self._left = frames.WINDOW_BYTES
        self._more = asyncio.Event()

    async def take(self, wanted: int) -> int:
        """Waits for room; how many of ``wanted`` bytes, at least one, may be sent now."""
        while not self._left:
            self._more.clear()
            await self._more.wait()
        taken = min(wanted, self._left)
        self._left -= taken
        return taken

    def give(self, count: int) -> None:
        if not 0 < count <= frames.WINDOW_BYTES - self._left:
            raise broken(f"credit for {count} bytes, of which that many were never sent")
        self._left += count
        self._more.set()


class Input:
    """What the client has sent of channel 0 and the process has not yet taken."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._changed = asyncio.Event()
        self._ended = False
        self._owed = 0  # bytes of the client's window that it has not got back

    def put(self, data: memoryview) -> None:
        if self._ended:
            raise broken("more input after the end of input")
        if not data:
            self._ended = True
        self._owed += len(data)
        if self._owed > frames.WINDOW_BYTES:
            raise broken("more input than there is credit for")
        self._buffer += data
        self._changed.set()

    async def take(self) -> bytes:
        """b"" at the end."""
        while not self._buffer and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        data = bytes(self._buffer[:READ_BYTES])
        del self._buffer[:READ_BYTES]
        return data

    def settle(self, count: int) -> None:
        self._owed -= count


class StreamSession:
    """Carries one process's streams over one connection; ``begin`` makes or has made the attachment."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._windows = {frames.STDOUT: Window(), frames.STDERR: Window()}
        self._input = Input()
        self._controls: asyncio.Queue[Control] = asyncio.Queue(MAX_CONTROLS)
        self._frames = frames.FrameReader(broken)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        self._writer = writer
        work = asyncio.create_task(self._work())
        receive = asyncio.create_task(self._receive(reader, initial))
        try:
            await asyncio.wait({work, receive}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            receive.cancel()
            outcome, received = await asyncio.gather(work, receive, return_exceptions=True)
        last = _last_word(outcome, received)
        with contextlib.suppress(ClientGone, TimeoutError):
            if last is not None:
                async with asyncio.timeout(CLOSE_S):
                    await self._send_control(last)

    # From the client

    async def _receive(self, reader: asyncio.StreamReader, initial: bytes) -> bool:
        """True when the client has detached, False when it has gone."""
        data = initial
        while True:
            for channel, payload in self._frames.feed(data):
                if channel == frames.STDIN:
                    self._input.put(payload)
                elif channel == frames.CREDIT:
                    self._credit(payload)
                elif channel == frames.CONTROL:
                    control = _control(payload)
                    if control.detach:
                        return True
                    await self._controls.put(control)
                else:
                    raise broken(f"channel {channel} is not the client's")
            try:
                data = await reader.read(READ_BYTES)
            except OSError:
                return False
            if not data:
                return False

    def _credit(self, payload: memoryview) -> None:
        channel, count = frames.read_credit(payload, broken)
        if channel not in self._windows:
            raise broken(f"credit for channel {channel}, which hyperd does not send")
        self._windows[channel].give(count)

    # To the client

    async def _send(self, channel: int, payload: Bytes = b"") -> None:
        self._writer.write(frames.frame(channel, payload))
        await drain(self._writer)

    async def _send_control(self, *values: object) -> None:
        """An object a frame, all in one write: the client wakes up once."""
        self._write_control(*values)
        await drain(self._writer)

    def _write_control(self, *values: object) -> None:
        self._writer.write(b"".join(_control_frame(value) for value in values))

    # The work

    async def _work(self) -> None:
        attachment = await self._start()
        try:
            await self._send_control({"started": True})
            async with asyncio.TaskGroup() as group:
                helpers = [
                    group.create_task(part(attachment)) for part in (self._feed_input, self._carry_out)
                ]
                async with asyncio.TaskGroup() as outputs:
                    for channel in self._windows:
                        outputs.create_task(self._output(attachment, channel))
                ended = await attachment.exit()
                for helper in helpers:
                    helper.cancel()
            await self._send_control(*_ending(ended))
        finally:
            async with asyncio.timeout(CLOSE_S):
                await attachment.close()

    async def _start(self) -> Attachment:
        board: Board[LayerProgress] = Board()

        def created(answer: Created) -> None:
            for item in board.take_now():
                self._write_control({"progress": item})
            self._write_control({"created": answer})

        async def tell() -> None:
            while news := await board.take():
                for item in news:
                    await self._send_control({"progress": item})

        telling = asyncio.create_task(tell())
        try:
            return await self._begin(created, sink(board))
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _output(self, attachment: Attachment, channel: int) -> None:
        window = self._windows[channel]
        while data := await attachment.read(channel):
            rest = memoryview(data)
            while rest:
                count = await window.take(min(len(rest), frames.MAX_PAYLOAD_BYTES))
                await self._send(channel, rest[:count])
                rest = rest[count:]
        await self._send(channel)

    async def _feed_input(self, attachment: Attachment) -> None:
        wanted = True
        done = 0
        while data := await self._input.take():
            if wanted and not await _taken(attachment.write(data)):
                wanted = False  # what still comes is thrown away, so that the client is not stuck with it
                await self._send(frames.STDIN)
            done += len(data)
            if done >= CREDIT_AT_BYTES:
                self._input.settle(done)
                await self._send_credit(done)
                done = 0
        if wanted:
            await _taken(attachment.end_input())

    async def _send_credit(self, count: int) -> None:
        self._writer.write(frames.credit(frames.STDIN, count))
        await drain(self._writer)

    async def _carry_out(self, attachment: Attachment) -> None:
        while True:
            control = await self._controls.get()
            try:
                if control.resize is not None:
                    await attachment.resize(*control.resize)
                if control.signal is not None:
                    await attachment.signal(control.signal)
            except AgentError:
                raise
            except HyperError as error:  # too late for this process, or not to be had: its streams go on
                logger.info("control %s: %s", control, error)


async def _taken(operation: Awaitable[None]) -> bool:
    """False when the process takes no more."""
    try:
        await operation
    except (Conflict, StreamClosed):
        return False
    return True


def _control(payload: memoryview) -> Control:
    try:
        control = msgspec.json.decode(payload, type=Control)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"control frame: {why(error)}") from None
    if (control.resize is not None) + (control.signal is not None) + control.detach != 1:
        raise InvalidArgument("control frame: one of resize, signal and detach is wanted")
    return control


def _control_frame(value: object) -> bytes:
    payload = msgspec.json.encode(value)
    if len(payload) > frames.MAX_PAYLOAD_BYTES:  # an error's console and stderr have no bound here
        payload = msgspec.json.encode(_shortened(value))
    return frames.frame(frames.CONTROL, payload)


def _ending(ended: Exit) -> Iterator[object]:
    """The control objects that tell of a process's end; `exit` is the last, and a client may pass over the others."""
    if ended.error:
        yield {"failed": ended.error}
    if ended.timings is not None:
        yield {"timings": ended.timings}
    yield {"exit": ended.exit_status}


def _last_word(outcome: BaseException | None, received: BaseException | bool) -> object | None:
    """The control object that ends the stream, where neither `exit` nor the client's leaving has ended it."""
    if outcome is None:
        return None
    for failure in (outcome, received):
        if isinstance(failure, Exception):
            cause = leaf(failure)
            return None if isinstance(cause, ClientGone) else FaultBody(fault_of(cause)[1])
    return {"detached": True} if received is True else None


def _shortened(value: object) -> object:
    """``value`` with every long text cut to its end, which is where a log says what went wrong."""
    if isinstance(value, str):
        return value if len(value) <= 4096 else "..." + value[-4096:]
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(item) for item in value[:64]]
    return _shortened(msgspec.to_builtins(value)) if isinstance(value, msgspec.Struct) else value
