"""A scripted hyperd for the command line's tests, and ways to run a command against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_hyperd import FakeHyperd, fake_hyperd
from hypercontainer.cli.main import main

Run = Callable[..., int]
Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Launch = Callable[..., subprocess.Popen[bytes]]
HYPER = (sys.executable, "-c", "import sys; from hypercontainer.cli.main import entry; sys.exit(entry())")


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's configuration or of a running hyperd is met by chance."""
    for name in [name for name in os.environ if name.startswith(("HYPER_", "DOCKER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HYPER_HOST", f"unix://{tmp_path}/h.sock")
    monkeypatch.setenv("HYPER_ROOT", f"{tmp_path}/root")
    monkeypatch.setenv("HYPER_RUN", f"{tmp_path}/run")
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture
def hyperd(tmp_path: Path) -> Iterator[FakeHyperd]:
    with fake_hyperd(tmp_path) as fake:
        yield fake


@pytest.fixture
def run() -> Run:
    """The exit status of a command line, in this process."""

    def run_main(*words: str) -> int:
        return main(words)

    return run_main


@pytest.fixture
def spawn() -> Spawn:
    """A command line in a process of its own."""

    def spawned(*words: str, stdin: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [*HYPER, *words], **{"input": stdin, "capture_output": True, "timeout": 60} | options
        )

    return spawned


@pytest.fixture
def launch() -> Iterator[Launch]:
    """A command line in a process that goes on; none outlives the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def launched(*words: str, **options: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*HYPER, *words], **options)  # type: ignore[call-overload]
        processes.append(process)
        return process  # type: ignore[no-any-return]

    yield launched
    for process in processes:
        if process.poll() is None:
            process.kill()
        with process:
            pass
