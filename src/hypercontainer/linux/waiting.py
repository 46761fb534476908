"""Waiting for what has to be over before one may go, however often one is told to go."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


async def ended(task: asyncio.Future[Any]) -> None:
    """Returns once it is done, with whatever outcome.

    For who is cancelled already and raises that again afterwards: further cancellations change nothing.
    """
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
