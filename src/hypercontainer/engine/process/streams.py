"""Bytes on their way from a guest's process to the clients that are attached to it.

Nothing here grows: a ``Pipe`` holds at most ``PIPE_BYTES`` and makes its writer wait; the writer is the agent's
stream, which the guest's process waits for in turn.
"""

from __future__ import annotations

import asyncio
from collections import deque

PIPE_BYTES = 256 * 1024


class Pipe:
    """One writer, one reader, bounded.  A reader that left makes writing return at once."""

    def __init__(self, limit_bytes: int = PIPE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._ended = False
        self._left = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        while self._held_bytes >= self._limit_bytes and not self._left:
            await self._wait()
        if not self._left and not self._ended:
            self._chunks.append(data)
            self._held_bytes += len(data)
            self._changed.set()

    async def get(self) -> bytes:
        """The next bytes; b"" at the end and for ever after."""
        while not self._chunks and not self._ended:
            await self._wait()
        if not self._chunks:
            return b""
        data = self._chunks.popleft()
        self._held_bytes -= len(data)
        self._changed.set()
        return data

    def end(self) -> None:
        """By the writer: nothing follows."""
        self._ended = True
        self._changed.set()

    def leave(self) -> None:
        """By the reader: what comes is of no interest."""
        self._left = True
        self._chunks.clear()
        self._held_bytes = 0
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()
