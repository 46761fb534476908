"""What the containers of a pod have written, one after the other, or all together as they write it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from hypercontainer.contract.answers import PodLogLine
from hypercontainer.engine.container.container import Container

WAITING_LINES = 64  # of all containers, for a client that is slow


@dataclass(frozen=True, slots=True)
class Wish:
    """As ``ContainerLog.read`` takes it."""

    follow: bool
    since_ns: int | None
    until_ns: int | None
    tail: int | None
    timestamps: bool


async def read(members: Sequence[Container], wish: Wish) -> AsyncGenerator[PodLogLine, None]:
    """``follow``: until none of them will run again."""
    kept = [member for member in members if member.record.spec.log.driver != "none"]
    for group in [kept] if wish.follow else [[member] for member in kept]:
        async with contextlib.aclosing(_together(group, wish)) as lines:
            async for line in lines:
                yield line


async def _together(members: Sequence[Container], wish: Wish) -> AsyncGenerator[PodLogLine, None]:
    waiting: asyncio.Queue[PodLogLine | None] = asyncio.Queue(WAITING_LINES)
    readers = [asyncio.create_task(_read(member, wish, waiting)) for member in members]
    try:
        for _ in readers:
            while (line := await waiting.get()) is not None:
                yield line
        await asyncio.gather(*readers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(member: Container, wish: Wish, waiting: asyncio.Queue[PodLogLine | None]) -> None:
    """Its lines, and None when there will be no more."""
    try:
        while True:
            run = member.record.run
            lines = member.log.read(
                follow=wish.follow and member.alive,
                since_ns=wish.since_ns,
                until_ns=wish.until_ns,
                tail=wish.tail,
                timestamps=wish.timestamps,
            )
            async for channel, data in lines:
                await waiting.put(PodLogLine(member.record.name, channel, data))
            wish = replace(wish, since_ns=time.time_ns(), tail=None)
            if not wish.follow or not await member.next_run(run):
                return
    finally:
        await waiting.put(None)
