"""Whether a sandbox goes on: a start begins only while it does, and who pauses it waits for those under way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator


class Gate:
    """Open, or shut with nobody within once ``shut`` has returned."""

    def __init__(self, *, is_open: bool) -> None:
        self._open = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0
        if is_open:
            self._open.set()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def open(self) -> None:
        self._open.set()

    async def shut(self) -> None:
        self._open.clear()
        await self._empty.wait()

    @contextlib.asynccontextmanager
    async def turn(self, lock: asyncio.Lock, refuse: Callable[[], None] | None) -> AsyncIterator[None]:
        """Holds the lock while it is open, and it is not shut within.  Where it is shut ``refuse`` raises; without
        that, later."""
        while True:
            if refuse is None:
                await self._open.wait()
            async with lock:
                if self.is_open:
                    with self._within():
                        yield
                    return
                if refuse is not None:
                    refuse()

    @contextlib.contextmanager
    def _within(self) -> Iterator[None]:
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()
