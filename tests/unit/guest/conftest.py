"""The programs that work on a container's files, built for the host once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "guest/init"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``guest/init/test/run_archive.c`` says how it is called."""
    directory = tmp_path_factory.mktemp("archives")
    made = directory / "run_archive"
    subprocess.run(["make", "-s", "-C", SOURCES, made, f"TESTS={directory}"], check=True, timeout=240)
    return made
