"""Processes' streams on a connection that was HTTP's: framed by channel or, of a terminal, as they are.

The end of what a client sends is no goodbye: ``docker run`` without -i sends nothing and says so at once.  What it
sends may come before the process is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass

from hypercontainer.contract.detach import DetachKeys
from hypercontainer.engine.interface import Attachment
from hypercontainer.engine.pipes import Bytes
from hypercontainer.errors import Conflict, HyperError, StreamClosed
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.wording import message
from hypercontainer.surfaces.http.answers import Raw, Session, Upgrade, closed_after
from hypercontainer.surfaces.http.connection import ClientGone, drain
from hypercontainer.surfaces.http.hangup import hung_up
from hypercontainer.surfaces.http.heard import heard

STDOUT, STDERR = 1, 2
RAW, FRAMED = "application/vnd.docker.raw-stream", "application/vnd.docker.multiplexed-stream"
TCP = "tcp"  # what Docker calls the protocol of a connection that is a process's
READ_BYTES = 65536
CLOSE_S = 5.0
_HEAD = struct.Struct(">BxxxL")


def frame(channel: int, data: Bytes) -> bytes:
    return _HEAD.pack(channel, len(data)) + data


def content_type(call: Call, *, tty: bool) -> str:
    return RAW if tty or call.version < (1, 42) else FRAMED


def hijacked(call: Call, session: Session, *, tty: bool) -> Upgrade | Raw:
    """101 if it was asked for; else a body that has no end of its own."""
    if call.wants_upgrade(TCP):
        return Upgrade(TCP, session, (("Content-Type", content_type(call, tty=tty)),))
    return Raw(200, (("Content-Type", RAW),), session)


@dataclass(frozen=True)
class Wish:
    """``channels``: those that are sent on.  ``keys``: what is typed to leave, b"": nothing is.  ``to_its_end``: the
    connection ends after the process, whose client asks at once how it ended."""

    channels: Collection[int] = (STDOUT, STDERR)
    stdin: bool = False
    keys: bytes = b""
    to_its_end: bool = False


Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]


class ProcessSession:
    """Ends with the process's output, or when the client has gone."""

    def __init__(self, attachment: Attachment, wish: Wish) -> None:
        self._attachment = attachment
        self._wish = wish

    @property
    def tty(self) -> bool:
        return self._attachment.tty

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        await heard(writer)
        await self.go_on(reader, writer, initial)

    async def go_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        """With a client that has the head."""
        early = initial

        async def send(data: bytes) -> None:
            writer.write(data)
            await drain(writer)

        async def receive() -> bytes:
            nonlocal early
            data, early = early, b""
            return data or await _read(reader)

        await self.carry(send, receive, writer, frames=not self.tty)

    async def carry(
        self, send: Send, receive: Receive, writer: asyncio.StreamWriter, *, frames: bool = False
    ) -> None:
        """``receive`` gives b"" where no more comes; ``frames``: each piece is sent with its channel."""
        tasks = [
            asyncio.create_task(self._outputs(send, frames=frames)),
            asyncio.create_task(self._inputs(receive, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with asyncio.timeout(CLOSE_S):
                await self._attachment.close()

    # To the client

    async def _outputs(self, send: Send, *, frames: bool) -> None:
        async with asyncio.TaskGroup() as group:
            for channel in (STDOUT,) if self.tty else (STDOUT, STDERR):
                group.create_task(self._output(send, channel, frames=frames))
        if self._wish.to_its_end:
            await self._attachment.exit()

    async def _output(self, send: Send, channel: int, *, frames: bool) -> None:
        """What nobody wants is read all the same: the process would wait for it."""
        wanted = channel in self._wish.channels
        while data := await self._attachment.read(channel):
            if wanted:
                await send(frame(channel, data) if frames else data)

    # From the client

    async def _inputs(self, receive: Receive, writer: asyncio.StreamWriter) -> None:
        """Returns when the client has gone, or has typed that it goes."""
        if not await self._input(receive):
            await hung_up(writer)

    async def _input(self, receive: Receive) -> bool:
        """Whether the client has left by its keys; False: it has sent all that it wants to."""
        keys = DetachKeys(self._wish.keys) if self._wish.keys and self.tty else None
        takes = self._wish.stdin
        while data := await receive():
            left = False
            if keys is not None:
                data, left = keys.feed(data)
            if takes and data:
                takes = await self._taken(data)
            if left:
                return True
        # A terminal's input does not end with a client's: who has typed that it goes has ended it, too.
        if takes and not self.tty:
            with contextlib.suppress(Conflict, StreamClosed):
                await self._attachment.end_input()
        return False

    async def _taken(self, data: bytes) -> bool:
        """False once the process takes no more: what still comes is thrown away."""
        try:
            await self._attachment.write(data)
        except (Conflict, StreamClosed):
            return False
        return True


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(READ_BYTES)
    except OSError as error:
        raise ClientGone from error


class LaterSession:
    """Of a process that is begun when the client has the head of the answer.  One that cannot be started says why on
    its output."""

    def __init__(self, begin: Callable[[], Awaitable[Attachment]], wish: Wish, *, tty: bool) -> None:
        self._begin, self._wish, self._tty = begin, wish, tty

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        await heard(writer)
        try:
            attachment = await self._begin()
        except HyperError as error:
            words = f"{message(error)}\r\n".encode()
            writer.write(words if self._tty else frame(STDOUT, words))
            await drain(writer)
        else:
            await ProcessSession(attachment, self._wish).go_on(reader, writer, initial)


class PiecesSession:
    """Sends these, and ends."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], *, tty: bool) -> None:
        self._pieces = pieces
        self.tty = tty

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, initial: bytes) -> None:
        await heard(writer)
        async with contextlib.aclosing(self._pieces):
            async for data in self._pieces:
                writer.write(data)
                await drain(writer)


async def joined(
    entries: AsyncIterator[tuple[int, bytes]], channels: Collection[int], *, tty: bool
) -> AsyncGenerator[bytes, None]:
    """What a log gives, as the body of an answer."""
    async with closed_after(entries) as open_entries:
        async for channel, data in open_entries:
            if channel in channels:
                yield data if tty else frame(channel, data)
