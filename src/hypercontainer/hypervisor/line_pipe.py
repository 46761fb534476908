"""A reliable pair of streams over a pair that loses bytes: a guest's serial port, by ``Line``.

The user's side is a socket pair of this process, so that what takes over a transport (``agent.channel``) finds one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from hypercontainer.hypervisor.line import Line

_READ_BYTES = 65536
# What the user has written and the line has not taken: a short message need not wait for more.
_BUFFER_BYTES = 16 * 1024
# The loop itself keeps none; who has the pair need not keep its pipe.
_RUNNING: set[asyncio.Task[None]] = set()


class LinePipe:
    """Use ``open``.  It ends when either side does, or with ``close``; the guest's end is told, where it can be."""

    def __init__(
        self,
        raw: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        inner: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        noise: Callable[[bytes], None] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = Line(self._loop.time(), noise)
        self._raw_reader, self._raw_writer = raw
        self._reader, self._writer = inner
        self._to_write, self._to_read, self._to_take = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())
        _RUNNING.add(self._task)
        self._task.add_done_callback(_RUNNING.discard)

    @classmethod
    async def open(
        cls,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        noise: Callable[[bytes], None] | None = None,
    ) -> tuple[LinePipe, asyncio.StreamReader, asyncio.StreamWriter]:
        """Owns ``reader`` and ``writer`` from now on.  Does not wait for the guest: what is written to the pair before
        it listens waits for it.  ``noise`` takes what comes between frames, as a console's on the same line."""
        ours, users = socket.socketpair()
        users.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        pipe = cls((reader, writer), await asyncio.open_connection(sock=ours), noise)
        return pipe, *await asyncio.open_connection(sock=users)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _run(self) -> None:
        parts = [self._hear, self._speak, self._accept, self._deliver]
        tasks = [asyncio.create_task(part()) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._writer.write(self._line.take())
            self._raw_writer.write(self._line.close())
            for writer in (self._raw_writer, self._writer):
                writer.close()

    async def _hear(self) -> None:
        """From the guest, until the line ends or is lost."""
        while data := await self._raw_reader.read(_READ_BYTES):
            if self._line.receive(data, self._loop.time()):
                self._to_take.set()
                self._to_write.set()
            if self._line.lost:
                return

    async def _speak(self) -> None:
        """To the guest.  While it takes nothing, nothing is said again."""
        while True:
            self._to_write.clear()
            while data := self._line.output(self._loop.time()):
                self._raw_writer.write(data)
                self._to_read.set()
                await self._raw_writer.drain()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._line.deadline()):
                    await self._to_write.wait()

    async def _accept(self) -> None:
        """From the user, as much as the line has room for."""
        while True:
            self._to_read.clear()
            if room := self._line.room:
                data = await self._reader.read(min(room, _READ_BYTES))
                if not data:
                    return
                self._line.send(data)
                self._to_write.set()
            else:
                await self._to_read.wait()

    async def _deliver(self) -> None:
        """To the user, who may read slowly: then the guest is told of less and less room."""
        while True:
            self._to_take.clear()
            while data := self._line.take():
                self._writer.write(data)
                self._to_write.set()
                await self._writer.drain()
            await self._to_take.wait()
