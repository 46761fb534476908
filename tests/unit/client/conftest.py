"""A scripted hyperd for the client's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hyperd import FakeHyperd, fake_hyperd


@pytest.fixture
def hyperd(tmp_path: Path) -> Iterator[FakeHyperd]:
    with fake_hyperd(tmp_path) as fake:
        yield fake
