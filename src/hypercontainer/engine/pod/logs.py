"""What the containers of a pod have written, one after the other, or all together as they write it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
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


async def read(
    members: Sequence[Container], wish: Wish, over: Callable[[], Coroutine[None, None, None]]
) -> AsyncGenerator[PodLogLine, None]:
    """``follow``: until none of them will run again; ``over`` waits for the end of the pod's run."""
    kept = [member for member in members if member.record.spec.log.driver != "none"]
    pods = asyncio.create_task(over())
    try:
        for group in [kept] if wish.follow else [[member] for member in kept]:
            async with contextlib.aclosing(_together(group, wish, pods)) as lines:
                async for line in lines:
                    yield line
    finally:
        pods.cancel()
        await asyncio.gather(pods, return_exceptions=True)


async def _together(
    members: Sequence[Container], wish: Wish, pods: asyncio.Future[None]
) -> AsyncGenerator[PodLogLine, None]:
    waiting: asyncio.Queue[PodLogLine | None] = asyncio.Queue(WAITING_LINES)
    readers = [asyncio.create_task(_read(member, wish, waiting, pods)) for member in members]
    try:
        for _ in readers:
            while (line := await waiting.get()) is not None:
                yield line
        await asyncio.gather(*readers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(
    member: Container, wish: Wish, waiting: asyncio.Queue[PodLogLine | None], pods: asyncio.Future[None]
) -> None:
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
            if not wish.follow or not await member.next_run(run, pods):
                return
    finally:
        await waiting.put(None)
