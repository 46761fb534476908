"""Waiting for what has to be over before one may go, however often one is told to go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def ended(task: asyncio.Future[Any]) -> None:
    """Returns once it is done, with whatever outcome.

    For who is cancelled already and raises that again afterwards: further cancellations change nothing.
    """
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # which is nobody's loss


async def whole(work: Awaitable[A]) -> A:
    """Its outcome.  Who is cancelled meanwhile goes when it is over: what it works on is nobody else's until then."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await ended(task)
        raise


async def together(*work: Coroutine[Any, Any, object] | asyncio.Future[Any]) -> None:
    """All of it at once.  Where a part fails, or the caller is cancelled, the others are over before it is told."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        for task in tasks:
            await ended(task)
        raise


async def both(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """As ``together``, of two that have something to say."""
    one, other = asyncio.ensure_future(first), asyncio.ensure_future(second)
    await together(one, other)
    return one.result(), other.result()
