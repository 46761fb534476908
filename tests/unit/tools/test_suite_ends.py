"""The suite passes, and ends, under whatever signals and waits: runs of pytest within a test."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[2] / "conftest.py"
INTERRUPTED = """
import signal, subprocess, sys

def test_interrupted():
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        process = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1, stderr=-1)
        with process:
            process.stdout.readline()
            process.send_signal(number)
            assert process.wait() == -number
"""
LEFT = """
import subprocess

def test_left():
    with subprocess.Popen(["sleep", "1000"]):
        raise AssertionError("seen to fail")
"""
STUCK = """
import subprocess, threading

def test_stuck():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass
"""


def run(tmp_path: Path, text: str, timeout_s: int = 30, **more: object) -> subprocess.CompletedProcess[str]:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text().replace("2 * timeout_s + 60", "2 * timeout_s"))
    (tmp_path / "test_it.py").write_text(text)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--timeout",
        str(timeout_s),
        "test_it.py",
    ]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        argv, cwd=tmp_path, capture_output=True, text=True, timeout=100, **more
    )


def deaf() -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def test_signals_reach_what_a_test_starts_though_the_suite_was_started_deaf(tmp_path: Path) -> None:
    done = run(tmp_path, INTERRUPTED, preexec_fn=deaf)
    assert done.returncode == 0, done.stdout


def test_a_test_that_failed_does_not_wait_for_its_process(tmp_path: Path) -> None:
    done = run(tmp_path, LEFT)
    assert (done.returncode, "seen to fail" in done.stdout) == (1, True), done.stdout


def test_a_test_that_waits_again_after_its_time_ends_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, STUCK, timeout_s=1)
    assert done.returncode == 1
    assert "Timeout (0:00:02)!" in done.stderr
    assert "in test_stuck" in done.stderr
