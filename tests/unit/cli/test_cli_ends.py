"""How commands end: closed descriptors, readers that leave, interrupts, answers of no known form, foreign text."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_hyperd import CONTROL, STDOUT, FakeHyperd, Peer, Request, frame

Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Launch = Callable[..., subprocess.Popen[bytes]]


def test_a_closed_standard_output_is_no_crash(hyperd: FakeHyperd, launch: Launch) -> None:
    hyperd.answer("GET", "/v1/containers", {"containers": []})
    options: dict[str, Any] = {"preexec_fn": lambda: os.closerange(0, 2), "stderr": subprocess.PIPE}
    process = launch("ps", **options)
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (0, b"")


def test_closed_descriptors_are_not_taken_for_the_users(hyperd: FakeHyperd, launch: Launch) -> None:
    """The connection must not become descriptor 0, 1 or 2."""
    hyperd.stream(
        "/v1/run", lambda peer: peer.send(frame(STDOUT, b"x" * 1000) + frame(CONTROL, b'{"exit":3}'))
    )
    options: dict[str, Any] = {"preexec_fn": lambda: os.closerange(0, 3)}
    assert launch("run", "-i", "image", **options).wait(20) == 3


def test_a_process_that_was_lost_is_explained(hyperd: FakeHyperd, launch: Launch) -> None:
    created = b'{"created":{"id":"0123456789ab","name":"web","warnings":[]}}'
    controls = (created, b'{"started":true}', b'{"failed":"its VM ended"}', b'{"exit":255}')
    hyperd.stream("/v1/run", lambda peer: peer.send(b"".join(frame(CONTROL, one) for one in controls)))
    process = launch("run", "image", stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (255, b"hyper: container web: its VM ended\n")


def test_a_reader_that_left_is_no_crash(hyperd: FakeHyperd, launch: Launch) -> None:
    hyperd.answer("GET", "/v1/images", {"images": []})
    reading, writing = os.pipe()
    os.close(reading)
    process = launch("images", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (141, b"")


def test_ctrl_c_is_quiet(hyperd: FakeHyperd, launch: Launch) -> None:
    def script(peer: Peer, _request: Request) -> None:
        process.send_signal(2)
        assert peer.at_end()

    hyperd.on("GET", "/v1/containers/a/wait", script)
    process = launch("wait", "a", stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (-2, b"")


def test_ctrl_c_in_a_save_leaves_no_file(hyperd: FakeHyperd, launch: Launch, tmp_path: Path) -> None:
    def script(peer: Peer, _request: Request) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        while not [entry for entry in tmp_path.glob(".hyper-save-*") if entry.stat().st_size == 4]:
            time.sleep(0.01)
        time.sleep(0.1)  # into the read that blocks
        process.send_signal(2)
        assert peer.at_end()

    hyperd.on("GET", "/v1/images/save", script)
    process = launch("save", "-o", str(tmp_path / "x.tar"), "a", stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (130, b"")
    assert [entry.name for entry in tmp_path.iterdir()] == ["h.sock"]


def test_debug_shows_the_traceback(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.fail("GET", "/v1/info", 500, code="internal", message="bad")
    assert b"Traceback" not in spawn("info").stderr
    assert b"Traceback" in spawn("--debug", "info").stderr


def test_a_hostile_answer_is_an_error_and_no_crash(hyperd: FakeHyperd, spawn: Spawn) -> None:
    answers: tuple[Any, ...] = (None, [], {}, {"containers": 3}, {"containers": [{}]}, {"containers": [3]})
    for answer in answers:
        hyperd._scripts.clear()
        hyperd.answer("GET", "/v1/containers", answer)
        done = spawn("ps")
        assert done.returncode == 1, answer
        assert done.stderr.startswith(b"hyper: "), done.stderr
        assert b"Traceback" not in done.stderr


def test_nobody_elses_text_commands_the_terminal(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.fail(
        "POST", "/v1/run", 500, code="launch", message="no\x1b[2J", details={"console": "\x1b]0;x\x07\tboot"}
    )
    said = spawn("--debug", "run", "x").stderr.decode()
    assert said[said.index("hyper: ") :].splitlines() == [
        r"hyper: no\x1b[2J",
        "  last lines of the guest's console:",
        "    " + r"\x1b]0;x\x07" + "\tboot",
    ]
    process = {
        "pid": 1,
        "ppid": 0,
        "uid": 0,
        "user": "",
        "cpu_ns": 0,
        "rss_bytes": 0,
        "started": "",
        "state": "S",
    }
    processes = [process | {"tty": "", "command": "x\x1b[31m\x9b"}]
    hyperd.answer("GET", "/v1/containers/web/top", {"processes": processes})
    assert spawn("top", "web").stdout.endswith(b"00:00:00   x\\x1b[31m\\x9b\n")


def test_a_name_that_the_locale_cannot_show(hyperd: FakeHyperd, spawn: Spawn) -> None:
    labels = {"a": "ü…\ud800"}
    image = {"id": "sha256:1", "references": [], "labels": labels, "created": "", "size_bytes": 0}
    hyperd.answer(
        "GET",
        "/v1/images",
        {"images": [image]},
    )
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = spawn("images", "--format", "{{.Labels}}", env=env)
    assert done.stderr == b""
    assert (done.returncode, done.stdout) == (0, b"a=\xfc\\u2026\\ud800\n")


def test_it_takes_no_time(hyperd: FakeHyperd, spawn: Spawn) -> None:
    """Not a measurement: a command that waits for something it need not wait for shows here."""
    hyperd.answer("GET", "/v1/containers", {"containers": []})
    begin = time.monotonic()
    assert spawn("ps").returncode == 0
    assert time.monotonic() - begin < 5
