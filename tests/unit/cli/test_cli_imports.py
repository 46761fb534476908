"""What the command line loads: the speed of short commands, held without a clock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hypercontainer
from fake_hyperd import FakeHyperd, Peer, control

HEAVY = {
    "argparse",
    "asyncio",
    "dataclasses",
    "email",
    "http",
    "inspect",
    "json",
    "logging",
    "msgspec",
    "pathlib",
    "re",
    "selectors",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "typing",
    "urllib",
}

PROBE = """
import os, sys
before = set(sys.modules)
from hypercontainer.cli.main import main
status = main(sys.argv[1:])
sys.stdout.flush()
os.write(2, ("\\n%d %s" % (status, " ".join(set(sys.modules) - before))).encode())
"""


def loaded(*words: str, host: str) -> tuple[int, set[str]]:
    env = {"PATH": os.environ["PATH"], "HYPER_HOST": f"unix://{host}", "HOME": "/"}
    env["PYTHONPATH"] = str(Path(hypercontainer.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], env=env, capture_output=True, check=True, timeout=60
    )
    status, *modules = done.stderr.decode().splitlines()[-1].split()
    return int(status), set(modules)


def test_version_without_hyperd(tmp_path: Path) -> None:
    status, modules = loaded("version", host=str(tmp_path / "none"))
    assert status == 0
    assert not modules & HEAVY
    assert not modules & {"enum", "collections"}
    assert len(modules) < 25


def test_version_with_hyperd(hyperd: FakeHyperd) -> None:
    hyperd.answer("GET", "/v1/version", {"version": "9.9"})
    status, modules = loaded("version", host=hyperd.path)
    assert status == 0
    assert not modules & HEAVY


def test_run(hyperd: FakeHyperd) -> None:
    def script(peer: Peer) -> None:
        peer.send(control(created={"id": "1", "name": "x", "warnings": []}) + control(exit=7))

    hyperd.stream("/v1/run", script)
    status, modules = loaded("run", "--rm", "-p", "80", "-m", "64m", "image", host=hyperd.path)
    assert status == 7
    assert not modules & HEAVY


@pytest.mark.parametrize("words", [("ps",), ("ps", "-q")])
def test_ps(hyperd: FakeHyperd, words: tuple[str, ...]) -> None:
    hyperd.answer("GET", "/v1/containers", {"containers": []})
    status, modules = loaded(*words, host=hyperd.path)
    assert status == 0
    assert not modules & HEAVY


@pytest.mark.parametrize(
    ("words", "path", "answer"),
    [
        (("pod", "ls"), "/v1/pods", {"pods": []}),
        (("pod", "wait", "a"), "/v1/pods/a/wait", {"exit_status": 0}),
        (("ports", "ls", "a"), "/v1/pods/a/ports", {"ports": []}),
        (("volume", "ls"), "/v1/volumes", {"volumes": []}),
        (("network", "ls"), "/v1/networks", {"networks": []}),
    ],
)
def test_pods_and_volumes(hyperd: FakeHyperd, words: tuple[str, ...], path: str, answer: object) -> None:
    hyperd.answer("GET", path, answer)
    status, modules = loaded(*words, host=hyperd.path)
    assert status == 0
    assert not modules & HEAVY


def test_the_logs_of_a_pod(hyperd: FakeHyperd) -> None:
    hyperd.answer("GET", "/v1/pods/a", {"containers": []})
    hyperd.lines("GET", "/v1/pods/a/logs", {"container": "b", "channel": 1, "data": ""})
    status, modules = loaded("pod", "logs", "a", host=hyperd.path)
    assert status == 0
    assert not modules & HEAVY
