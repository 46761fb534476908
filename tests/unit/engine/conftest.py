from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fake_world import world
from stories import Story, Tell, have_any_kernel


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Runs a story in a world of its own."""
    have_any_kernel(monkeypatch)

    def run(story: Story) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30), world(tmp_path) as made:
                await story(made)

        asyncio.run(whole())

    return run
