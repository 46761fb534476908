"""--timings: the table, the process's own age, and what becomes of the option where there is nothing to tell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from fake_hyperd import FakeHyperd, Peer, control
from hypercontainer.cli import timings

Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
CREATED = {"id": "0123456789ab", "name": "web", "warnings": []}
RUN = {"vm": "cold", "stages_ms": {"prepare": 1.25, "vm": 52.0, "run": 1000.0}}


def ends(**timings: Any) -> Any:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + control(started=True))
        peer.send((control(timings=timings) if timings else b"") + control(exit=3))

    return script


def rows(stderr: bytes) -> tuple[str, dict[str, float]]:
    title, *lines = stderr.decode().splitlines()
    assert len({len(line) for line in lines}) == 1, "not aligned"
    return title, {name.strip(): float(ms) for name, ms in (line.rsplit(None, 1) for line in lines)}


def test_the_table() -> None:
    shown = timings.table(
        "clone", {"command line": 40.04, "create": 5.0}, {"prepare": 1.25, "vm": 52.0}, 60.0
    )
    assert shown.splitlines() == [
        "clone start, in milliseconds:",
        "  command line      40.0",
        "  create             5.0",
        "  prepare            1.2",
        "  vm                52.0",
        "  between            6.8",
        "  total            105.0",
    ]


def test_two_clocks_do_not_make_less_than_nothing() -> None:
    assert "  between       0.0" in timings.table("cold", {}, {"vm": 5.0}, 4.9).splitlines()


def test_run(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.stream("/v1/run", ends(**RUN))
    done = spawn("run", "--timings", "image")
    title, shown = rows(done.stderr)
    assert (done.returncode, done.stdout, title) == (3, b"", "cold start, in milliseconds:")
    own = ["command line", "image", "create"]
    assert list(shown) == [*own, "prepare", "vm", "run", "between", "total"]
    assert shown["vm"] == 52.0
    assert shown["command line"] > 5  # Python has been started in it
    assert "timings" not in hyperd.asked("POST", "/v1/run").json


def test_start_attached(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer(
        "GET", "/v1/containers/web", {"id": "1", "name": "web", "state": "exited", "spec": {"tty": False}}
    )
    hyperd.stream("/v1/containers/web/attach", lambda peer: peer.send(control(timings=RUN) + control(exit=4)))
    hyperd.answer("POST", "/v1/containers/web/start", status=204)
    done = spawn("start", "-a", "--timings", "web")
    assert done.returncode == 4
    own = ["command line", "attach"]
    assert list(rows(done.stderr)[1]) == [*own, "prepare", "vm", "run", "between", "total"]


def test_without_the_option_nothing_is_told(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.stream("/v1/run", ends(**RUN))
    done = spawn("run", "image")
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_hyperd_that_does_not_say(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.stream("/v1/run", ends())
    done = spawn("run", "--timings", "image")
    assert done.returncode == 3
    assert done.stderr.startswith(b"hyper: no timings")


@pytest.mark.parametrize("words", [("run", "-d", "--timings", "image"), ("start", "--timings", "web")])
def test_only_of_an_attached_run(hyperd: FakeHyperd, spawn: Spawn, words: tuple[str, ...]) -> None:
    done = spawn(*words)
    assert done.returncode in (1, 125)
    assert done.stderr.startswith(b"hyper: --timings needs an attached run\n  hint: ")
    assert hyperd.requests == []


def test_the_age_of_a_process() -> None:
    """Older than nothing, and no older than its parent saw pass since before the fork, but for the kernel's tick."""
    code = "from hypercontainer.cli.timings import process_age_s; print(process_age_s(), flush=True); input()"
    before = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        age_s = float(process.stdout.readline())
        answered = time.monotonic()
        process.communicate("\n")
    assert 0 < age_s <= answered - before + 1 / os.sysconf("SC_CLK_TCK")
