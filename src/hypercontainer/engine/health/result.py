"""What one check or hook came to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from hypercontainer.errors import AgentError, GuestError, HyperError

DETAIL_MAX = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """``detail``: for people, at most DETAIL_MAX characters; it may quote what the guest said."""

    ok: bool
    detail: str = ""


def quoted(data: bytes) -> str:
    """The guest's bytes, as text that can stand in a line."""
    text = data[: 4 * DETAIL_MAX].decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else " " for c in text)[:DETAIL_MAX]


async def bounded(attempt: Coroutine[Any, Any, Result], timeout_s: float | None) -> Result:
    """``attempt``, with its failures and its lateness as a Result.

    AgentError is passed on where the guest itself is out of reach: that says nothing about the container.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await attempt
    except TimeoutError:
        return Result(False, "too late" if timeout_s is None else f"no answer within {timeout_s:g} s")
    except HyperError as error:
        if isinstance(error, AgentError) and not isinstance(error, GuestError):
            raise
        return Result(False, error.message[:DETAIL_MAX])
