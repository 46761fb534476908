"""Whether a sandbox goes on: a start begins only while it does, and who pauses it waits for those under way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Gate:
    """Open, or shut with nobody within once ``shut`` has returned."""

    def __init__(self, *, is_open: bool) -> None:
        self._open = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._within = 0
        if is_open:
            self._open.set()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def open(self) -> None:
        self._open.set()

    async def opened(self) -> None:
        """Waits for it; it may be shut again when the waiter has its turn."""
        await self._open.wait()

    async def shut(self) -> None:
        self._open.clear()
        await self._empty.wait()

    @contextlib.contextmanager
    def within(self) -> Iterator[None]:
        """Of one that is open."""
        self._within += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._within -= 1
            if not self._within:
                self._empty.set()
