"""``hyper run --podfile`` and ``hyper create --podfile``."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_hyperd import FakeHyperd, Peer, Request, chunk
from hypercontainer.contract.spec import PodSpec

Run = Callable[..., int]
Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Launch = Callable[..., subprocess.Popen[bytes]]
CREATED = {
    "id": "0123456789ab",
    "name": "shop",
    "containers": [
        {"id": "1", "name": "web", "warnings": ["slow"]},
        {"id": "2", "name": "db", "warnings": []},
    ],
    "warnings": [],
}
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
POD = "/v1/pods/0123456789ab"


@pytest.fixture
def podfile(tmp_path: Path) -> str:
    (tmp_path / "secret").write_bytes(b"what only its owner reads")
    path = tmp_path / "shop.json"
    files = [{"name": "f", "uri": f"file://{tmp_path}/secret"}]
    container = {"name": "web", "image": "localhost/web", "files": [{"path": "/etc/", "filename": "f"}]}
    database = {"name": "db", "image": "localhost/db"}
    path.write_text(json.dumps({"id": "shop", "containers": [container, database], "files": files}))
    return str(path)


def line(container: str, data: bytes, channel: int = 1) -> bytes:
    text = base64.b64encode(data).decode()
    return chunk(json.dumps({"container": container, "channel": channel, "data": text}).encode() + b"\n")


def runs(hyperd: FakeHyperd, *, status: int = 0) -> None:
    hyperd.answer("POST", "/v1/pods", CREATED, 201)
    hyperd.answer("POST", f"{POD}/start", status=204)
    logs = HEAD + line("web", b"hello\n") + line("db", b"oh\n", 2) + b"0\r\n\r\n"
    hyperd.raw("GET", f"{POD}/logs", logs)
    hyperd.answer("GET", f"{POD}/wait", {"exit_status": status, "error": ""})
    hyperd.answer("DELETE", POD, status=204)


def asked(hyperd: FakeHyperd) -> list[str]:
    return [f"{request.method} {request.target}" for request in hyperd.requests]


def test_a_podfile_is_read_here_and_followed(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    runs(hyperd, status=7)
    done = spawn("run", "--podfile", podfile)
    assert (done.returncode, done.stdout) == (7, b"web | hello\n")
    assert done.stderr == b"WARNING: slow\ndb  | oh\n"
    assert asked(hyperd) == [
        "POST /v1/pods",
        f"POST {POD}/start",
        f"GET {POD}/logs?follow=true",
        f"GET {POD}/wait",
    ]
    spec = msgspec.convert(hyperd.requests[0].json, PodSpec)
    assert (spec.name, spec.auto_remove, spec.share_pids) == ("shop", False, True)
    assert [one.image for one in spec.containers] == ["localhost/web", "localhost/db"]
    assert spec.containers[0].files[0].content == b"what only its owner reads"
    assert {one.pull for one in spec.containers} == {"never"}


def test_detached(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    runs(hyperd)
    done = spawn("run", "-d", "--rm", "--name", "other", "-l", "a=b", "--podfile", podfile)
    assert (done.returncode, done.stdout) == (0, b"0123456789ab\n")
    assert asked(hyperd) == ["POST /v1/pods", f"POST {POD}/start"]
    spec = hyperd.requests[0].json
    assert (spec["name"], spec["auto_remove"], spec["labels"]) == ("other", True, {"a": "b"})


def test_attached_its_removal_waits_for_its_output(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    runs(hyperd)
    assert spawn("run", "--rm", "--podfile", podfile).returncode == 0
    assert hyperd.requests[0].json["auto_remove"] is False
    assert asked(hyperd)[-1] == f"DELETE {POD}?force=true"


@pytest.mark.parametrize("options", [(), ("-d",)])
def test_a_pod_that_cannot_start_leaves_nothing_with_rm(
    hyperd: FakeHyperd, spawn: Spawn, podfile: str, options: tuple[str, ...]
) -> None:
    hyperd.answer("POST", "/v1/pods", CREATED, 201)
    hyperd.fail("POST", f"{POD}/start", 500, code="launch", message="no VM")
    hyperd.answer("DELETE", POD, status=204)
    done = spawn("run", *options, "--rm", "--podfile", podfile)
    assert (done.returncode, done.stdout) == (125, b"")
    assert b"hyper: no VM\n" in done.stderr
    assert asked(hyperd)[-1] == f"DELETE {POD}?force=true"


def test_create_from_standard_input(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    runs(hyperd)
    done = spawn("create", "--podfile", "-", stdin=Path(podfile).read_bytes())
    assert (done.returncode, done.stdout) == (0, b"0123456789ab\n")
    assert asked(hyperd) == ["POST /v1/pods"]


def test_a_podfile_that_is_none(hyperd: FakeHyperd, spawn: Spawn) -> None:
    done = spawn("create", "--podfile", "-", stdin=b"{}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"hyper: podfile standard input: ")
    assert not hyperd.requests


def test_images_that_are_missing_are_fetched(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    hyperd.fail("POST", "/v1/pods", 404, code="not_found", message="no image localhost/web")
    runs(hyperd)

    def inspect(peer: Peer, request: Request) -> None:
        found = "localhost%2Fdb" in request.target
        body = b"{}" if found else b'{"error":{"code":"not_found","message":"none"}}'
        head = f"HTTP/1.1 {200 if found else 404} X\r\nContent-Length: {len(body)}\r\n\r\n"
        peer.send(head.encode() + body)

    hyperd.on("GET", "/v1/images/inspect", inspect)
    hyperd.lines("POST", "/v1/images/pull", {"result": {}})
    done = spawn("create", "--podfile", podfile)
    assert (done.returncode, done.stdout) == (0, b"0123456789ab\n")
    assert b"Unable to find image 'localhost/web' locally" in done.stderr
    assert hyperd.asked("POST", "/v1/images/pull").json["reference"] == "localhost/web"


def test_pull_always(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    runs(hyperd)
    hyperd.lines("POST", "/v1/images/pull", {"result": {}})
    assert spawn("create", "-q", "--pull", "always", "--podfile", podfile).returncode == 0
    assert asked(hyperd) == ["POST /v1/images/pull", "POST /v1/images/pull", "POST /v1/pods"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_the_pod_and_the_second_kills_it(
    hyperd: FakeHyperd, launch: Launch, podfile: str, number: signal.Signals
) -> None:
    runs(hyperd, status=137)
    killed, logs = threading.Event(), threading.Event()

    def follow(peer: Peer, _request: Request) -> None:
        peer.send(HEAD + line("web", b"up\n"))
        logs.set()
        assert killed.wait(20)
        peer.send(line("web", b"down\n") + b"0\r\n\r\n")

    def stop(peer: Peer, _request: Request) -> None:
        process.send_signal(number)
        assert killed.wait(20)
        peer.send(b"HTTP/1.1 204 X\r\n\r\n")

    def kill(peer: Peer, _request: Request) -> None:
        peer.send(b"HTTP/1.1 204 X\r\n\r\n")
        killed.set()

    # The answers of `runs` are taken one by one: these come first.
    scripts: dict[tuple[str, str], Any] = hyperd._scripts
    scripts[("GET", f"{POD}/logs")] = [follow]
    hyperd.on("POST", f"{POD}/stop", stop)
    hyperd.on("POST", f"{POD}/kill", kill)
    process = launch("run", "--podfile", podfile, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert logs.wait(20)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (137, b"web | up\nweb | down\n")
    assert err.decode().splitlines()[-2:] == ["Stopping the pod; once more kills it", "Killing the pod"]
    assert hyperd.asked("POST", f"{POD}/kill").json == {"signal": "KILL"}


def test_a_pod_of_one_is_shown_as_it_writes(hyperd: FakeHyperd, spawn: Spawn, podfile: str) -> None:
    """Its bytes are those that `run` of its image would show: no name before them, no line waited for."""
    one = {**CREATED, "containers": CREATED["containers"][:1]}
    hyperd.answer("POST", "/v1/pods", one, 201)
    hyperd.answer("POST", f"{POD}/start", status=204)
    hyperd.raw("GET", f"{POD}/logs", HEAD + line("web", b"\xffhel") + line("web", b"lo") + b"0\r\n\r\n")
    hyperd.answer("GET", f"{POD}/wait", {"exit_status": 0, "error": ""})
    done = spawn("run", "--podfile", podfile)
    assert (done.returncode, done.stdout) == (0, b"\xffhello")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("-a", "--podfile", "F"), "it takes stdin, stdout or stderr; without -a and -d, a run is attached"),
        (("-a", "stdout", "--podfile", "F"), "without -d, what its containers write is shown"),
    ],
)
def test_attach_beside_a_podfile(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...], hint: str
) -> None:
    assert run("run", *words) == 125
    assert hint in capsys.readouterr().err
