"""The programs that work on a container's files, built for the host once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import cross

SOURCES = Path(__file__).parents[3] / "guest/init"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``guest/init/test/run_archive.c`` says how it is called."""
    directory = tmp_path_factory.mktemp("archives")
    made = directory / "run_archive"
    subprocess.run(["make", "-s", "-C", SOURCES, made, f"TESTS={directory}"], check=True, timeout=240)
    return made


@pytest.fixture(scope="session")
def big_endian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of unit tests for s390x, which qemu-s390x runs here."""
    directory = tmp_path_factory.mktemp("big-endian")
    names = ("test_wire", "test_stream", "test_session", "test_line")
    cross.make("s390x", "-j2", f"TESTS={directory}", *(str(directory / name) for name in names))
    return directory
