"""Bytes between the event loop and whoever reads or writes them: a worker thread with a file object, or a task.

A kernel pipe is the bounded queue: whoever is faster waits.  The loop's end must be closed first: that wakes a
thread that is blocked at the other end, whose file object can then be closed without waiting for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, BinaryIO, TypeVar

from hypercontainer.errors import HyperError

Bytes = bytes | bytearray | memoryview
Pieces = AsyncGenerator[Bytes, None]  # of data as it comes
CHUNK_BYTES = 65536
PIPE_BYTES = 1 << 20
PIECES_AHEAD = 4
T = TypeVar("T")


def _pipe() -> tuple[int, int]:
    """One that holds more than the usual 64 KiB, so that who waits is woken less often; a user has so many of them,
    and then they are as usual."""
    ends = os.pipe()
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return ends


async def _ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class _CutOff(io.FileIO):
    """The reading end: an end of the pipe that is not that of the data is an error, never a short file."""

    complete = False
    cut_words = ""

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        if count == 0 and not self.complete:
            raise ConnectionAbortedError(self.cut_words)
        return count


class InputPipe:
    """From the loop to a thread, which reads ``file``; ``cut_words``: why that ends early, where it does."""

    def __init__(self, cut_words: str) -> None:
        reading, self._fd = _pipe()
        os.set_blocking(self._fd, False)
        self._raw = _CutOff(reading, "rb")
        self._raw.cut_words = cut_words
        self.file = io.BufferedReader(self._raw, CHUNK_BYTES)

    async def write(self, data: Bytes) -> None:
        """Waits for room; raises BrokenPipeError when nobody will read."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                await _ready(self._fd, loop.add_writer, loop.remove_writer)

    def finish(self) -> None:
        """All of it has been written: the thread sees the end of the file."""
        self._raw.complete = True
        self.cut()

    def close(self) -> None:
        self.cut()
        self.file.close()

    def cut(self) -> None:
        """No more comes: the thread sees an error, where it is not all of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class InputQueue:
    """As ``InputPipe``, to another task of the loop, which reads ``pieces``."""

    def __init__(self, cut_words: str) -> None:
        self._cut_words = cut_words
        self._room = asyncio.Semaphore(PIECES_AHEAD)
        self._coming: asyncio.Queue[Bytes] = asyncio.Queue()
        self._complete = self._left = False
        self.pieces = self._pieces()

    async def write(self, data: Bytes) -> None:
        """Waits for room; raises BrokenPipeError when nobody will read."""
        if not data:  # which would say that there is no more
            return
        await self._room.acquire()
        if self._left:
            raise BrokenPipeError
        self._coming.put_nowait(data)

    async def _pieces(self) -> Pieces:
        try:
            while data := await self._coming.get():
                self._room.release()
                yield data
        finally:
            self._left = True
            self._room.release()
        if not self._complete:
            raise ConnectionAbortedError(self._cut_words)

    def finish(self) -> None:
        """All of it has been written."""
        self._complete = True
        self.cut()

    def cut(self) -> None:
        """No more comes: the reader sees an error, where it is not all of it."""
        self._coming.put_nowait(b"")

    close = cut


class OutputPipe:
    """From a thread, which writes ``file``, to the loop."""

    def __init__(self) -> None:
        self._fd, writing = _pipe()
        os.set_blocking(self._fd, False)
        self._raw = io.FileIO(writing, "wb")
        self.file = io.BufferedWriter(self._raw, CHUNK_BYTES)

    async def read(self) -> bytes:
        """b"" at the end."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return os.read(self._fd, CHUNK_BYTES)
            except BlockingIOError:
                await _ready(self._fd, loop.add_reader, loop.remove_reader)

    def finish(self) -> None:
        """The loop sees the end.  What the thread has not flushed is lost: waiting for room would stop the loop."""
        self._raw.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.file.close()


async def pieces_of(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


async def written(write: Callable[[BinaryIO], Awaitable[None]]) -> AsyncGenerator[bytes, None]:
    """What ``write`` writes, which does it in threads, and flushes there.  Closing the iterator cancels it."""

    async def work(pipe: OutputPipe) -> None:
        try:
            await write(pipe.file)
        finally:
            pipe.finish()

    with contextlib.closing(OutputPipe()) as pipe:
        task = asyncio.create_task(work(pipe))
        try:
            while data := await pipe.read():
                yield data
            await task
        finally:
            pipe.close()  # before the task is waited for: its thread may be stuck in a full pipe
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def read_by(
    data: AsyncGenerator[bytes, None], read: Callable[[BinaryIO], Awaitable[T]], cut_words: str
) -> T:
    """What ``read`` makes of ``data``, which it reads in threads."""

    async def feed(pipe: InputPipe) -> None:
        try:
            async with contextlib.aclosing(data):
                async for piece in data:
                    await pipe.write(piece)
            pipe.finish()
        except BrokenPipeError:
            pass  # it needs no more, or failed
        finally:
            pipe.cut()

    with contextlib.closing(InputPipe(cut_words)) as pipe:
        feeding = asyncio.create_task(feed(pipe))
        try:
            made = await read(pipe.file)
        except BaseException:
            pipe.cut()
            feeding.cancel()
            [failed] = await asyncio.gather(feeding, return_exceptions=True)
            if isinstance(failed, HyperError):
                raise failed from None  # the other one only knows that there was no more
            raise
        await feeding
        return made
