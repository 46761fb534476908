"""Waits for what nobody tells of: files that another process makes, memory that a kernel gives back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

STEP_S = 0.005

T = TypeVar("T")


def until(found: Callable[[], T], what: str, *, deadline_s: float = 60.0) -> T:
    """The first true answer of ``found``; AssertionError, which names ``what``, where there is none in time."""
    limit = time.monotonic() + deadline_s
    while not (answer := found()):
        assert time.monotonic() < limit, f"not within {deadline_s:g} s: {what}"
        time.sleep(STEP_S)
    return answer
