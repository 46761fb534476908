"""run, create, start, exec and attach without a terminal: streams, signals, statuses, files, pulling."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_hyperd import STDERR, STDOUT, FakeHyperd, Peer, control, frame

Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Launch = Callable[..., subprocess.Popen[bytes]]
CREATED = {"id": "0123456789ab", "name": "web", "warnings": []}
IMAGE = {"id": "sha256:1", "references": ["x:latest"], "repo_digests": []}


def ends_with(status: int, *before: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + control(started=True) + b"".join(before))
        peer.send(frame(STDOUT) + frame(STDERR) + control(exit=status))

    return script


def test_run_passes_everything_through(hyperd: FakeHyperd, spawn: Spawn) -> None:
    got = []

    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED | {"warnings": ["no limit on pids"]}) + control(started=True))
        got.append(peer.read_input())
        peer.send(frame(STDOUT, b"out\0\xff") + frame(STDERR, b"err") + control(exit=42))

    hyperd.stream("/v1/run", script)
    done = spawn("run", "--rm", "-i", "image", "cat", "-", stdin=b"in\0\xff")
    assert (done.returncode, done.stdout) == (42, b"out\0\xff")
    assert done.stderr == b"WARNING: no limit on pids\nerr"
    assert got == [b"in\0\xff"]
    assert hyperd.asked("POST", "/v1/run").json == {
        "image": "image",
        "command": ["cat", "-"],
        "stdin_open": True,
        "stdin_once": True,
        "auto_remove": True,
        "pull": "never",
    }


@pytest.mark.parametrize("status", [0, 1, 125, 137, 255])
def test_the_status_is_the_processs(hyperd: FakeHyperd, spawn: Spawn, status: int) -> None:
    hyperd.stream("/v1/run", ends_with(status))
    assert spawn("run", "image").returncode == status


def test_without_i_no_input_is_read(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.stream("/v1/run", ends_with(0))
    assert spawn("run", "image", stdin=b"left alone").returncode == 0
    assert "stdin_open" not in hyperd.asked("POST", "/v1/run").json


def test_only_the_streams_that_are_attached(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.stream("/v1/run", ends_with(0, frame(STDOUT, b"out"), frame(STDERR, b"err")))
    done = spawn("run", "-a", "stderr", "image")
    assert (done.stdout, done.stderr) == (b"", b"err")


@pytest.mark.parametrize(
    ("details", "status"), [({}, 125), ({"exit_status": 127}, 127), ({"exit_status": 126}, 126)]
)
def test_a_run_that_fails(hyperd: FakeHyperd, spawn: Spawn, details: dict[str, int], status: int) -> None:
    error = {"code": "guest", "message": "cannot execute", "hint": "look", "details": details}
    hyperd.stream("/v1/run", lambda peer: peer.send(control(created=CREATED) + control(error=error)))
    done = spawn("run", "image", "nope")
    assert (done.returncode, done.stdout) == (status, b"")
    assert done.stderr == b"hyper: cannot execute\n  hint: look\n"


def test_a_failed_launch_shows_its_evidence(hyperd: FakeHyperd, spawn: Spawn) -> None:
    details = {
        "command": ["qemu", "-m", "128"],
        "exit_code": 1,
        "stderr": "qemu: no memory\nat all\n",
        "console": "Kernel panic\n",
    }
    hyperd.fail("POST", "/v1/run", 500, code="launch", message="start VM 1: QEMU ended", details=details)
    done = spawn("run", "image")
    assert done.returncode == 125
    assert done.stderr.decode().splitlines() == [
        "hyper: start VM 1: QEMU ended",
        "  more about it: --debug, or hyperd's log",
    ]
    done = spawn("--debug", "run", "image")
    assert done.returncode == 125
    said = done.stderr.decode()
    assert said[said.index("hyper: ") :].splitlines() == [
        "hyper: start VM 1: QEMU ended",
        "  command: qemu -m 128",
        "  exit status: 1",
        "  stderr:",
        "    qemu: no memory",
        "    at all",
        "  last lines of the guest's console:",
        "    Kernel panic",
    ]


def test_a_lost_connection_says_how_to_come_back(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.stream("/v1/run", lambda peer: peer.send(control(created=CREATED)))
    done = spawn("run", "image")
    assert done.returncode == 125
    assert b"hyper attach web" in done.stderr


def test_run_detached_prints_the_id(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    hyperd.answer("POST", "/v1/containers", CREATED, 201)
    hyperd.answer("POST", "/v1/containers/0123456789ab/start", status=204)
    done = spawn("run", "-d", "--name", "web", "--cidfile", str(tmp_path / "cid"), "image")
    assert (done.returncode, done.stdout) == (0, b"0123456789ab\n")
    assert (tmp_path / "cid").read_text() == "0123456789ab"


def test_a_detached_run_that_cannot_start_leaves_nothing_with_rm(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("POST", "/v1/containers", CREATED, 201)
    hyperd.fail("POST", "/v1/containers/0123456789ab/start", 500, code="launch", message="no VM")
    hyperd.answer("DELETE", "/v1/containers/0123456789ab", status=204)
    done = spawn("run", "-d", "--rm", "image")
    assert (done.returncode, done.stdout, done.stderr) == (125, b"", b"hyper: no VM\n")
    assert hyperd.asked("DELETE", "/v1/containers/0123456789ab").target.endswith("?force=true")


def test_create_prints_the_id(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("POST", "/v1/containers", CREATED | {"warnings": ["careful"]}, 201)
    done = spawn("create", "-it", "image", "sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0123456789ab\n", b"WARNING: careful\n")
    assert hyperd.asked("POST", "/v1/containers").json["stdin_once"]


def test_the_id_file_is_new_and_goes_where_there_is_no_container(
    hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path
) -> None:
    path = tmp_path / "cid"
    hyperd.fail("POST", "/v1/run", 400, code="invalid_argument", message="bad")
    assert spawn("run", "--cidfile", str(path), "image").returncode == 125
    assert not path.exists()
    path.write_text("old")
    done = spawn("run", "--cidfile", str(path), "image")
    assert (done.returncode, path.read_text()) == (125, "old")
    assert b"container ID file found" in done.stderr


# Images that are not there


def test_a_missing_image_is_pulled_with_the_users_credentials(
    hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path
) -> None:
    docker = tmp_path / ".docker"
    docker.mkdir()
    (docker / "config.json").write_text('{"auths": {"localhost:5000": {"auth": "bWU6c2VjcmV0"}}}')
    hyperd.fail("POST", "/v1/run", 404, code="not_found", message="no image")
    hyperd.fail("GET", "/v1/images/inspect", 404, code="not_found", message="no image")
    layer = {"layer": "sha256:" + "ab" * 32, "status": "done", "current": 5, "total": 5}
    hyperd.lines(
        "POST",
        "/v1/images/pull",
        {"progress": layer | {"status": "downloading"}},
        {"progress": layer},
        {"result": IMAGE},
    )
    hyperd.stream("/v1/run", ends_with(3))
    done = spawn("run", "--platform", "linux/amd64", "localhost:5000/app")
    assert done.returncode == 3
    assert done.stderr == b"Unable to find image 'localhost:5000/app' locally\nabababababab: Complete\n"
    assert hyperd.asked("POST", "/v1/images/pull").json == {
        "reference": "localhost:5000/app",
        "platform": "linux/amd64",
        "credentials": {"username": "me", "password": "secret", "identity_token": "", "registry_token": ""},
        "whole": False,
        "artifacts": False,
    }


def test_an_image_that_is_there_is_not_pulled_for_another_not_found(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.fail("POST", "/v1/run", 404, code="not_found", message="no kernel x")
    hyperd.answer("GET", "/v1/images/inspect", IMAGE)
    done = spawn("run", "--kernel", "x", "image")
    assert (done.returncode, done.stderr) == (125, b"hyper: no kernel x\n")


def test_pull_never(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.fail("POST", "/v1/run", 404, code="not_found", message="no image x")
    done = spawn("run", "--pull=never", "x")
    assert (done.returncode, done.stderr) == (125, b"hyper: no image x\n")
    assert len(hyperd.requests) == 1


def test_pull_always_pulls_first(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.lines("POST", "/v1/images/pull", {"result": IMAGE})
    hyperd.stream("/v1/run", ends_with(0))
    assert spawn("run", "--pull", "always", "-q", "x").returncode == 0
    assert [request.path for request in hyperd.requests] == ["/v1/images/pull", "/v1/run"]


def test_a_failed_pull(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.lines(
        "POST", "/v1/images/pull", {"error": {"code": "unauthorized", "message": "denied", "hint": "log in"}}
    )
    done = spawn("run", "--pull", "always", "x")
    assert (done.returncode, done.stderr) == (125, b"hyper: denied\n  hint: log in\n")


# Signals


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_are_passed_on(hyperd: FakeHyperd, launch: Launch, name: str) -> None:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + control(started=True) + frame(STDOUT, b"ready"))
        assert peer.receive_control() == {"signal": name}
        peer.send(control(exit=99))

    hyperd.stream("/v1/run", script)
    process = launch("run", "image", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(20) == 99


def test_the_third_interrupt_leaves(hyperd: FakeHyperd, launch: Launch) -> None:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + frame(STDOUT, b"r"))
        for _ in range(2):
            assert peer.receive_control() == {"signal": "INT"}
            peer.send(frame(STDOUT, b"r"))
        assert peer.at_end()

    hyperd.stream("/v1/run", script)
    process = launch("run", "image", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(3):
        assert process.stdout.read(1) == b"r"
        process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert process.stderr.read() == b"hyper: left web running; hyper kill web ends it\n"


@pytest.mark.parametrize("words", [("run", "--sig-proxy=false", "image"), ("exec", "web", "sh")])
def test_without_a_proxy_a_signal_ends_the_client(
    hyperd: FakeHyperd, launch: Launch, words: tuple[str, ...]
) -> None:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + frame(STDOUT, b"ready"))
        assert peer.at_end()

    hyperd.stream("/v1/run", script)
    hyperd.answer("POST", "/v1/containers/web/exec", {"id": "e1"}, 201)
    hyperd.stream("/v1/execs/e1/start", script)
    process = launch(*words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"
    process.terminate()
    assert process.wait(20) == 143


def test_an_ignored_signal_stays_ignored(hyperd: FakeHyperd, launch: Launch) -> None:
    """As under nohup."""

    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + frame(STDOUT, b"ready"))
        assert peer.receive_control() == {"signal": "TERM"}
        peer.send(control(exit=0))

    hyperd.stream("/v1/run", script)
    ignore: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    process = launch("run", "image", stdout=subprocess.PIPE, **ignore)
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"
    process.send_signal(signal.SIGHUP)
    process.terminate()
    assert process.wait(20) == 0


# exec, attach, start


def test_exec(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("POST", "/v1/containers/web/exec", {"id": "e1"}, 201)
    got = []

    def script(peer: Peer) -> None:
        got.append(peer.read_input())
        peer.send(frame(STDOUT, b"x") + control(exit=5))

    hyperd.stream("/v1/execs/e1/start", script)
    done = spawn(
        "exec", "-i", "-e", "A=1", "-w", "/", "-u", "0", "--privileged", "web", "sh", "-c", "x", stdin=b"in"
    )
    assert (done.returncode, done.stdout, got) == (5, b"x", [b"in"])
    assert hyperd.asked("POST", "/v1/containers/web/exec").json == {
        "command": ["sh", "-c", "x"],
        "env": ["A=1"],
        "working_dir": "/",
        "user": "0",
        "stdin": True,
        "privileged": True,
    }


def test_exec_of_what_is_not_there(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("POST", "/v1/containers/web/exec", {"id": "e1"}, 201)
    hyperd.fail(
        "POST", "/v1/execs/e1/start", 500, code="guest", message="not found", details={"exit_status": 127}
    )
    assert spawn("exec", "web", "nope").returncode == 127


def test_exec_detached(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("POST", "/v1/containers/web/exec", {"id": "e1"}, 201)
    hyperd.answer("POST", "/v1/execs/e1/start", status=204)
    assert spawn("exec", "-di", "web", "sh").returncode == 0
    assert hyperd.asked("POST", "/v1/containers/web/exec").json == {"command": ["sh"], "detach": True}
    assert "upgrade" not in hyperd.asked("POST", "/v1/execs/e1/start").headers


def summary(**more: Any) -> dict[str, Any]:
    return {"id": "1", "name": "web", "state": "running", "spec": {"tty": False, "stdin_open": True}} | more


def test_attach(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("GET", "/v1/containers/web", summary())

    def script(peer: Peer) -> None:
        assert peer.read_input() == b"hello"
        peer.send(frame(STDOUT, b"bye") + control(exit=7))

    hyperd.stream("/v1/containers/web/attach", script)
    done = spawn("attach", "web", stdin=b"hello")
    assert (done.returncode, done.stdout) == (7, b"bye")


@pytest.mark.parametrize(
    ("state", "hint"), [("paused", b"hyper unpause web"), ("exited", b"hyper start -a web")]
)
def test_attach_to_what_does_not_run(hyperd: FakeHyperd, spawn: Spawn, state: str, hint: bytes) -> None:
    hyperd.answer("GET", "/v1/containers/web", summary(state=state))
    done = spawn("attach", "web")
    assert done.returncode == 1
    assert hint in done.stderr


def test_start_attached(hyperd: FakeHyperd, spawn: Spawn) -> None:
    """Attached first and then started, so that nothing is missed."""
    hyperd.answer("GET", "/v1/containers/web", summary(state="exited"))
    hyperd.stream(
        "/v1/containers/web/attach", lambda peer: peer.send(frame(STDOUT, b"all") + control(exit=4))
    )
    hyperd.answer("POST", "/v1/containers/web/start", status=204)
    done = spawn("start", "-a", "web")
    assert (done.returncode, done.stdout) == (4, b"all")
    assert [request.path.rpartition("/")[2] for request in hyperd.requests] == ["web", "attach", "start"]
    assert hyperd.requests[1].target.endswith("?stdin=false&logs=false")


def test_a_reader_that_leaves_ends_a_run_quietly(hyperd: FakeHyperd, launch: Launch) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + frame(STDOUT, b"x"))
        assert peer.at_end()

    hyperd.stream("/v1/run", script)
    process = launch("run", "image", stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert process.stderr is not None
    assert (process.wait(20), process.stderr.read()) == (141, b"")
