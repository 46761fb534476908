from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fake_world import world
from stories import Story, Tell, have_any_kernel


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Runs a story in a world of its own; ``networks``: of one that has some."""
    have_any_kernel(monkeypatch)

    def run(story: Story, *, networks: bool = False) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30), world(tmp_path, networks=networks) as made:
                await story(made)

        asyncio.run(whole())

    return run
