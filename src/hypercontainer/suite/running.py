"""Runs a case on a driver, and proves that it has left nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from hypercontainer.suite.case import Case
from hypercontainer.suite.harness import TEST_UID, Harness
from hypercontainer.suite.leftovers import children, descriptors, groups, of_user

TIMEOUT_S = 120.0
H = TypeVar("H", bound=Harness)


def run(
    case: Case, kind: Callable[[Path, AsyncExitStack], Harness], folder: Path, *, timeout_s: float = TIMEOUT_S
) -> None:
    """In an event loop of its own and in ``folder``, which is empty; skips a case whose need the driver has not."""

    async def unless_lacking(harness: Harness) -> None:
        if lacking := harness.lacking(case.needs):
            pytest.skip(lacking)
        await case.run(harness)

    with nothing_left(folder):
        with_harness(kind, folder, unless_lacking, timeout_s=timeout_s)


def with_harness(
    kind: Callable[[Path, AsyncExitStack], H],
    folder: Path,
    test: Callable[[H], Awaitable[None]],
    *,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Runs ``test`` with a harness in a fresh event loop, and ends its VMs."""

    async def main() -> None:
        async with asyncio.timeout(None) as timeout:
            async with AsyncExitStack() as stack:
                harness = kind(folder, stack)
                timeout.reschedule(asyncio.get_running_loop().time() + harness.patient(timeout_s))
                await harness.begin()
                await test(harness)
            left = await harness.leftovers()
            assert not left, f"left behind: {left}"

    asyncio.run(main())


@contextmanager
def nothing_left(folder: Path) -> Iterator[None]:
    """Afterwards there is no process, descriptor, cgroup or run directory more than before, and no ``folder``."""
    before, others = descriptors(), children()  # a session may have processes of its own
    yield
    assert children() <= others
    assert not (of_user(TEST_UID) if os.geteuid() == 0 else ())
    assert not [each for each in groups() if each.name.startswith(f"contract-{os.getpid()}-")]
    assert not Counter(descriptors()) - Counter(before)  # what somebody was still closing then may be gone
    runs = folder / "run"
    assert not runs.exists() or not list(runs.iterdir())
    shutil.rmtree(folder)
