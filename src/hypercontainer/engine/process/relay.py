"""Connections to a socket in a container, carried in frames by ``hyper-lend`` (contract/lent.py) to who serves them.

What a channel's window has room for is kept of each, and no more, whatever a guest says.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
from collections.abc import Awaitable, Callable

from hypercontainer.agent.wire import Stream
from hypercontainer.contract.lent import CREDIT, DATA, GONE, WINDOW_BYTES, LentReader, credit, data, gone
from hypercontainer.engine.process.process import ProcessAttachment
from hypercontainer.errors import AgentProtocolError

UNSAID_MAX = (
    1024  # frames for a guest that does not take them; one that keeps the rules has less, on all channels
)

log = logging.getLogger(__name__)

Connect = Callable[[], Awaitable[socket.socket]]  # a new connection's near end


class _Channel:
    """``room``: what the guest takes of what comes for it, ``allowed``: what it may still say, in bytes.  ``kept``:
    what it has said, behind which it ``ended``."""

    def __init__(self) -> None:
        self.room = self.allowed = WINDOW_BYTES
        self.kept = bytearray()
        self.ended = False
        self.news = asyncio.Event()
        self.more_room = asyncio.Event()
        self.task: asyncio.Task[None]
        self.said_gone = self.heard_gone = False


class Relay:
    """``attachment``: the program's, which listens."""

    def __init__(self, attachment: ProcessAttachment, connect: Connect) -> None:
        self._attachment, self._connect = attachment, connect
        self._channels: dict[int, _Channel] = {}
        self._frames = LentReader(_broken)
        self._unsaid: list[bytes] = []
        self._speak, self._spoken = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until the program ends; AgentProtocolError where it breaks the rules."""
        speaking = asyncio.create_task(self._pass_on())
        try:
            while received := await self._attachment.read(Stream.STDOUT):
                for frame in self._frames.feed(received):
                    self._hear(*frame)
                if len(self._unsaid) > UNSAID_MAX:
                    await self._spoken.wait()
        finally:
            tasks = [speaking, *(each.task for each in self._channels.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------------------------------- what is said to the guest

    def _say(self, frame: bytes) -> asyncio.Event:
        """Set when it has been said."""
        self._unsaid.append(frame)
        self._speak.set()
        return self._spoken

    async def _pass_on(self) -> None:
        """One writer, which nobody breaks off in the middle of a frame."""
        try:
            while True:
                await self._speak.wait()
                self._speak.clear()
                frames, self._unsaid = self._unsaid, []
                spoken, self._spoken = self._spoken, asyncio.Event()
                try:
                    await self._attachment.write(b"".join(frames))
                finally:
                    spoken.set()
        finally:
            self._spoken.set()  # nobody waits for a guest that is gone

    # ------------------------------------------------------------------------------------- what the guest says

    def _hear(self, number: int, kind: int, count: int, payload: bytes) -> None:
        channel = self._channels.get(number)
        if channel is None and kind == DATA:
            channel = self._open(number)
        if channel is None:
            if kind == GONE:  # it had nothing to say
                self._say(gone(number))
        elif kind == GONE:
            channel.heard_gone = True
            channel.task.cancel()
            self._forget_if_gone(number, channel)
        elif kind == CREDIT:
            channel.room = _within(channel.room + count)
            channel.more_room.set()
        else:
            channel.allowed = _within(channel.allowed - count)
            channel.kept += payload
            channel.ended |= count == 0
            channel.news.set()

    def _open(self, number: int) -> _Channel:
        channel = self._channels[number] = _Channel()
        channel.task = asyncio.create_task(self._carry(number, channel))
        channel.task.add_done_callback(functools.partial(self._over, number, channel))
        return channel

    def _over(self, number: int, channel: _Channel, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a lent connection was broken off", exc_info=error)
        self._say(gone(number))
        channel.said_gone = True
        self._forget_if_gone(number, channel)

    def _forget_if_gone(self, number: int, channel: _Channel) -> None:
        if channel.said_gone and channel.heard_gone:
            del self._channels[number]

    # ------------------------------------------------------------------------------------- one connection

    async def _carry(self, number: int, channel: _Channel) -> None:
        """Each direction to its end, or both until one of them breaks."""
        try:
            reader, writer = await asyncio.open_unix_connection(sock=await self._connect())
        except OSError as error:
            log.warning("a lent connection cannot be made: %s", error)
            return
        writer.transport.set_write_buffer_limits(high=0)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._answer(number, channel, reader))
                both.create_task(self._ask(number, channel, writer))
        except* OSError:
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, number: int, channel: _Channel, reader: asyncio.StreamReader) -> None:
        said = b"-"
        while said:
            while not channel.room:
                channel.more_room.clear()
                await channel.more_room.wait()
            said = await reader.read(channel.room)
            channel.room -= len(said)
            await self._say(data(number, said)).wait()

    async def _ask(self, number: int, channel: _Channel, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while channel.kept or not channel.ended:
            if not channel.kept:
                channel.news.clear()
                await channel.news.wait()
                continue
            piece = bytes(channel.kept)
            channel.kept.clear()
            writer.write(piece)
            await writer.drain()
            passed += len(piece)
            if passed >= WINDOW_BYTES // 2:
                channel.allowed += passed
                await self._say(credit(number, passed)).wait()
                passed = 0
        writer.write_eof()


def _broken(what: str) -> AgentProtocolError:
    return AgentProtocolError(f"hyper-lend said {what}")


def _within(count: int) -> int:
    if not 0 <= count <= WINDOW_BYTES:
        raise _broken(f"more than a window has ({count} bytes)")
    return count
