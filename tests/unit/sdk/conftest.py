"""A scripted hyperd and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hyperd import FakeHyperd, fake_hyperd
from hypercontainer import Client


@pytest.fixture
def hyperd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHyperd]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with fake_hyperd(tmp_path) as fake:
        yield fake


@pytest.fixture
def client(hyperd: FakeHyperd) -> Iterator[Client]:
    with Client(f"unix://{hyperd.path}", start=False) as made:
        yield made
