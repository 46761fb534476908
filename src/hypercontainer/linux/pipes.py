"""Bytes between the event loop and a worker thread that reads or writes a file object.

A kernel pipe is the bounded queue: whoever is faster waits.  The loop's end must be closed first: that wakes a
thread that is blocked at the other end, whose file object can then be closed without waiting for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, BinaryIO

from hypercontainer.surfaces.http.connection import Bytes

CHUNK_BYTES = 65536


async def _ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)


class _CutOff(io.FileIO):
    """The reading end of a body: an end of the pipe that is not the body's end is an error, never a short file."""

    complete = False

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        if count == 0 and not self.complete:
            raise ConnectionAbortedError("the client went away in the middle of the data")
        return count


class BodyPipe:
    """From the loop to a thread, which reads ``file``."""

    def __init__(self) -> None:
        reading, self._fd = os.pipe()
        os.set_blocking(self._fd, False)
        self._raw = _CutOff(reading, "rb")
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
        """The body is whole: the thread sees the end of the file."""
        self._raw.complete = True
        self.cut()

    def close(self) -> None:
        self.cut()
        self.file.close()

    def cut(self) -> None:
        """No more comes: the thread sees an error, where the body is not whole."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OutputPipe:
    """From a thread, which writes ``file``, to the loop."""

    def __init__(self) -> None:
        self._fd, writing = os.pipe()
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
