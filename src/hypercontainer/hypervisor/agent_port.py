"""The connection to a guest's agent port, of which there is one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class AgentPort:
    def __init__(self, connect: Callable[[], Awaitable[Pair]]) -> None:
        """``connect`` makes a new one, and raises what ``VM.connect_agent`` does."""
        self._connect = connect
        self._writer: asyncio.StreamWriter | None = None
        self._kept: Pair | None = None

    async def connect(self) -> Pair:
        """One that was kept, else a new one, before which the former is parted from."""
        kept, self._kept = self._kept, None
        if kept is not None:
            return kept
        self.part()
        pair = await self._connect()
        self._writer = pair[1]
        return pair

    def keep(self, pair: Pair) -> None:
        """For the next who connects."""
        self._kept = pair

    def part(self) -> None:
        """At once: what was not sent yet is for nobody any more."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
