"""Two pipes as one way in both directions, as asyncio has it of a socket.

Who is at the other end holds both ends of both pipes (``RunDir.make_pipe``): the pipes outlive whoever is at this one,
and what a former one has left in them is read by the next, to whom belongs all that is said after they were parted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
from pathlib import Path
from typing import Any

LIMIT_BYTES = 1 << 16  # of a stream's reader
# What waits to be written: the protocol is told to pause above, and to go on below.
HIGH_BYTES, LOW_BYTES = 1 << 18, 1 << 16
_READ_BYTES = 1 << 16


async def connect(into: Path, out: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """What is written goes ``into`` one, what is read comes ``out`` of the other.  Raises ``OSError``, also where
    nobody holds the pipes any more."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as undo:
        read_fd = os.open(out, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        undo.callback(os.close, read_fd)
        write_fd = os.open(into, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        undo.pop_all()
    reader = asyncio.StreamReader(limit=LIMIT_BYTES, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = PipesTransport(loop, read_fd, write_fd, protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class PipesTransport(asyncio.Transport):
    """Owns its descriptors; its protocol may be a ``Protocol`` or a ``BufferedProtocol``, and may be replaced."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, read_fd: int, write_fd: int, protocol: asyncio.BaseProtocol
    ) -> None:
        super().__init__({"pipe": self})
        self._loop = loop
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._protocol = protocol
        self._waiting = bytearray()
        self._full = False
        self._reading = False
        self._closing = False
        self._told = False
        protocol.connection_made(self)
        self.resume_reading()

    def fileno(self) -> int:
        """Of the reading end; -1 once nothing may be read from it any more."""
        return self._read_fd

    # ------------------------------------------------------------------------------------- asyncio.Transport

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._read_fd)

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._read_fd, self._read)

    def write(self, data: Any) -> None:
        if self._closing or not data:
            return
        if self._waiting:
            self._waiting += data
        else:
            try:
                written = self._written(data)
            except OSError as error:
                self._lose(error)
                return
            if written == len(data):
                return
            self._waiting += memoryview(data)[written:]
            self._loop.add_writer(self._write_fd, self._write)
        if len(self._waiting) > HIGH_BYTES and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """What waits is written first."""
        if not self._closing and self._waiting:
            self.pause_reading()
            self._closing = True
        elif not self._closing:
            self._lose(None)

    def abort(self) -> None:
        if self._read_fd >= 0:
            self._lose(None)

    # ------------------------------------------------------------------------------------- the descriptors

    def _read(self) -> None:
        protocol = self._protocol
        try:
            if isinstance(protocol, asyncio.BufferedProtocol):
                count = os.readv(self._read_fd, [protocol.get_buffer(-1)])
                if count:
                    protocol.buffer_updated(count)
                    return
            elif data := os.read(self._read_fd, _READ_BYTES):
                assert isinstance(protocol, asyncio.Protocol)
                protocol.data_received(data)
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        self.pause_reading()
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        if not protocol.eof_received() and self._read_fd >= 0:
            self._lose(None)

    def _written(self, data: Any) -> int:
        try:
            return os.write(self._write_fd, data)
        except (BlockingIOError, InterruptedError):
            return 0

    def _write(self) -> None:
        try:
            del self._waiting[: self._written(self._waiting)]
        except OSError as error:
            self._lose(error)
            return
        if not self._waiting:
            self._loop.remove_writer(self._write_fd)
            if self._closing:
                self._lose(None)
                return
        if self._full and len(self._waiting) <= LOW_BYTES:
            self._full = False
            self._protocol.resume_writing()

    def _lose(self, error: OSError | None) -> None:
        """The protocol hears of it later, and may read then what is left by a guest that is gone.  What one that lives
        has left, or says meanwhile, is the next one's: its descriptors are closed at once."""
        self._closing = True
        self.pause_reading()
        if self._waiting:
            self._loop.remove_writer(self._write_fd)
            self._waiting.clear()
        if error is None and not self._gone():
            self._release()
        self._loop.call_soon(self._lost, error)

    def _gone(self) -> bool:
        """Whether nobody holds the pipe to write to it."""
        poll = select.poll()
        poll.register(self._read_fd, 0)  # of a hang-up is told in any case
        return bool(poll.poll(0))

    def _release(self) -> None:
        if self._read_fd >= 0:
            os.close(self._read_fd)
            os.close(self._write_fd)
            self._read_fd = self._write_fd = -1

    def _lost(self, error: OSError | None) -> None:
        if self._told:
            return
        self._told = True
        try:
            self._protocol.connection_lost(error)
        finally:
            self._release()
