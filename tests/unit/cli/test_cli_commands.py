"""What commands ask of hyperd, say, and give as their status."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_hyperd import CONTROL, STDERR, STDOUT, FakeHyperd, Peer, Request, chunk, frame
from hypercontainer.cli.commands.stats import cpu_percent
from hypercontainer.cli.session import Session

Run = Callable[..., int]
Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Launch = Callable[..., subprocess.Popen[bytes]]
Capture = pytest.CaptureFixture[str]


def image(**more: Any) -> dict[str, Any]:
    return {"id": "sha256:" + "1" * 64, "references": ["docker.io/library/x:1"], "repo_digests": []} | more


# Life


def test_each_container_is_tried_and_a_failure_is_the_status(
    hyperd: FakeHyperd, run: Run, capsys: Capture
) -> None:
    hyperd.answer("POST", "/v1/containers/a/stop", status=204)
    hyperd.fail("POST", "/v1/containers/b/stop", 404, code="not_found", message="no container b")
    hyperd.answer("POST", "/v1/containers/c/stop", status=204)
    assert run("stop", "-t", "3", "-s", "INT", "a", "b", "c") == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("a\nc\n", "hyper: no container b\n")
    assert hyperd.asked("POST", "/v1/containers/a/stop").json == {"timeout_s": 3, "signal": "INT"}


@pytest.mark.parametrize(
    ("words", "method", "path"),
    [
        (("stop",), "POST", "/v1/containers/{}/stop"),
        (("restart",), "POST", "/v1/containers/{}/restart"),
        (("kill",), "POST", "/v1/containers/{}/kill"),
        (("rm", "-f"), "DELETE", "/v1/containers/{}"),
        (("pod", "stop"), "POST", "/v1/pods/{}/stop"),
        (("pod", "restart"), "POST", "/v1/pods/{}/restart"),
        (("pod", "rm"), "DELETE", "/v1/pods/{}"),
    ],
)
def test_none_waits_for_the_end_of_another(
    hyperd: FakeHyperd, run: Run, capsys: Capture, words: tuple[str, ...], method: str, path: str
) -> None:
    together = threading.Barrier(3)

    def ends_with_the_others(peer: Peer, _: Request) -> None:
        together.wait(30)
        peer.send(b"HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n")

    for name in "abc":
        hyperd.on(method, path.format(name), ends_with_the_others)
    assert run(*words, "a", "b", "c") == 0
    assert capsys.readouterr().out == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (("restart", "--time=5", "a"), "/v1/containers/a/restart", {"timeout_s": 5}),
        (("restart", "-s", "INT", "a"), "/v1/containers/a/restart", {"signal": "INT"}),
        (("kill", "a"), "/v1/containers/a/kill", {"signal": "KILL"}),
        (("kill", "-s", "HUP", "a"), "/v1/containers/a/kill", {"signal": "HUP"}),
        (("pause", "a"), "/v1/containers/a/pause", None),
        (("unpause", "a"), "/v1/containers/a/unpause", None),
        (("start", "a"), "/v1/containers/a/start", None),
        (("rename", "a", "b"), "/v1/containers/a/rename", {"name": "b"}),
        (("tag", "a", "b:1"), "/v1/images/tag", {"source": "a", "target": "b:1"}),
        (("container", "stop", "a/../b"), "/v1/containers/a%2F..%2Fb/stop", {}),
    ],
)
def test_posts(hyperd: FakeHyperd, run: Run, words: tuple[str, ...], path: str, body: object) -> None:
    hyperd.answer("POST", path, status=204)
    assert run(*words) == 0
    assert hyperd.asked("POST", path).json == body


def test_wait_prints_statuses(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("GET", "/v1/containers/a/wait", {"exit_status": 3, "error": ""})
    hyperd.answer("GET", "/v1/containers/b/wait", {"exit_status": 0, "error": ""})
    assert run("wait", "a", "b") == 0
    assert capsys.readouterr().out == "3\n0\n"


def test_rm_by_force(hyperd: FakeHyperd, run: Run) -> None:
    hyperd.answer("DELETE", "/v1/containers/a", status=204)
    assert run("rm", "-fv", "a") == 0
    assert hyperd.requests[0].target == "/v1/containers/a?force=true&volumes=true"


@pytest.mark.parametrize(
    ("words", "status"),
    [(("rm", "a"), 1), (("rm", "-f", "a"), 0), (("rmi", "a"), 1), (("rmi", "-f", "a"), 0)],
)
def test_force_is_content_with_what_is_not_there(
    hyperd: FakeHyperd, run: Run, words: tuple[str, ...], status: int
) -> None:
    hyperd.fail("DELETE", "/v1/containers/a", 404, code="not_found", message="none")
    hyperd.fail("DELETE", "/v1/images", 404, code="not_found", message="none")
    assert run(*words) == status


def test_rmi(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("DELETE", "/v1/images", {"removed": [{"untagged": "x:1"}, {"deleted": "sha256:1"}]})
    assert run("rmi", "x:1") == 0
    assert capsys.readouterr().out == "Untagged: x:1\nDeleted: sha256:1\n"


# Looking


def test_ps_asks_for_what_was_typed(hyperd: FakeHyperd, run: Run) -> None:
    hyperd.answer("GET", "/v1/containers", {"containers": []})
    assert run("ps", "-f", "status=exited", "--filter", "label=a=b", "--filter=label=c", "-n", "3") == 0
    assert hyperd.requests[0].target == (
        "/v1/containers?all=true&filters=%7B%22status%22%3A%5B%22exited%22%5D%2C"
        "%22label%22%3A%5B%22a%3Db%22%2C%22c%22%5D%7D&size=false"
    )


def test_sizes_are_asked_for_where_a_template_shows_them(hyperd: FakeHyperd, run: Run) -> None:
    hyperd.answer("GET", "/v1/containers", {"containers": []})
    for words, asked in (((), "false"), (("-s",), "true"), (("--format", "{{.Size}}"), "true")):
        assert run("ps", *words) == 0
        assert hyperd.requests[-1].target.endswith(f"size={asked}")


def logs_of(*frames: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(map(chunk, frames)) + b"0\r\n\r\n"
    )


def test_logs_keep_the_channels_apart(hyperd: FakeHyperd, spawn: Spawn) -> None:
    pieces = frame(STDOUT, b"out\xff\n") + frame(STDERR, b"err\n")
    hyperd.raw("GET", "/v1/containers/web/logs", logs_of(pieces[:5], pieces[5:]))
    done = spawn("logs", "-f", "--tail", "5", "-t", "--since", "2026-01-31T10:00:00.5Z", "web")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\xff\n", b"err\n")
    assert hyperd.requests[0].target == (
        "/v1/containers/web/logs?follow=true&timestamps=true&since=1769853600.500000000&tail=5"
    )


def test_logs_that_fail_on_the_way(hyperd: FakeHyperd, spawn: Spawn) -> None:
    error = json.dumps({"error": {"code": "internal", "message": "disk"}}).encode()
    hyperd.raw("GET", "/v1/containers/web/logs", logs_of(frame(STDOUT, b"a"), frame(CONTROL, error)))
    done = spawn("logs", "web")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"a", b"hyper: disk\n")


def test_logs_that_break_off(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.raw("GET", "/v1/containers/web/logs", logs_of(frame(STDOUT, b"abc")[:9]))
    done = spawn("logs", "web")
    assert (done.returncode, b"middle of a frame" in done.stderr) == (1, True)


def test_inspect_of_several_and_of_what_is_not_there(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.fail("GET", "/v1/containers/nope", 404, code="not_found", message="no container nope")
    hyperd.fail("GET", "/v1/images/inspect", 404, code="not_found", message="no image nope")
    assert run("inspect", "nope") == 1
    shown = capsys.readouterr()
    assert shown.out == "[]\n"
    assert shown.err.startswith("hyper: no such object: nope")
    assert run("container", "inspect", "nope") == 1
    assert "no container nope" in capsys.readouterr().err
    assert run("image", "inspect", "nope") == 1
    assert "no image nope" in capsys.readouterr().err


def test_port_of_one(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    ports = [{"host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80, "protocol": "tcp"}]
    hyperd.answer("GET", "/v1/containers/web", {"ports": ports})
    assert run("port", "web", "80") == 0
    assert capsys.readouterr().out == "0.0.0.0:8080\n"
    assert run("port", "web", "80/udp") == 1
    assert "no public port 80/udp published for web" in capsys.readouterr().err


def test_cpu_is_between_two_samples() -> None:
    before = {"time": "2026-01-01T00:00:00Z", "cpu_ns": 1_000_000_000}
    now = {"time": "2026-01-01T00:00:02Z", "cpu_ns": 4_000_000_000}
    assert cpu_percent(before, now) == pytest.approx(150.0)
    assert cpu_percent(now, now) == 0.0


def test_stats_once(hyperd: FakeHyperd, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.cli.commands.stats.INTERVAL_S", 0.0)
    sample = {
        "time": "2026-01-01T00:00:00Z",
        "id": "a" * 64,
        "name": "web",
        "cpu_ns": 0,
        "vcpus": 1,
        "memory_bytes": 64 << 20,
        "memory_limit_bytes": 128 << 20,
        "net_rx_bytes": 1000,
        "net_tx_bytes": 0,
        "block_read_bytes": 0,
        "block_write_bytes": 2_000_000,
        "pids": 3,
        "vm_rss_bytes": 100 << 20,
    }
    hyperd.answer("GET", "/v1/containers/web/stats", sample)
    hyperd.answer(
        "GET", "/v1/containers/web/stats", sample | {"time": "2026-01-01T00:00:01Z", "cpu_ns": 500_000_000}
    )
    form = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} {{.PIDs}} {{.VMRss}}"
    assert run("stats", "--no-stream", "--format", form, "web") == 0
    assert capsys.readouterr().out == "web 50.00% 64MiB / 128MiB 50.00% 1kB / 0B 0B / 2MB 3 100MiB\n"


# Images on their way


def test_pull(hyperd: FakeHyperd, spawn: Spawn) -> None:
    digest = "sha256:" + "c" * 64
    layer = {"layer": "sha256:" + "a" * 64, "status": "done", "current": 1, "total": 1}
    found = image(repo_digests=[f"docker.io/library/x@{digest}"])
    hyperd.lines("POST", "/v1/images/pull", {"progress": layer}, {"message": "hello"}, {"result": found})
    done = spawn("pull", "x")
    assert (done.returncode, done.stdout) == (0, b"docker.io/library/x:latest\n")
    assert done.stderr.decode().splitlines() == [
        "Using default tag: latest",
        "aaaaaaaaaaaa: Complete",
        "hello",
        f"Digest: {digest}",
        "Status: Image is ready for x:latest",
    ]
    done = spawn("pull", "-q", "x:1")
    assert (done.stdout, done.stderr) == (b"docker.io/library/x:1\n", b"")


@pytest.mark.parametrize("values", [[], [{"progress": 3}], [3], [{"progress": {"layer": "x"}}]])
def test_progress_that_is_none(hyperd: FakeHyperd, spawn: Spawn, values: list[object]) -> None:
    hyperd.lines("POST", "/v1/images/pull", *values)
    done = spawn("pull", "x")
    assert done.returncode == 1
    assert b"hyper: hyperd" in done.stderr
    assert b"Traceback" not in done.stderr


def test_push(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.lines("POST", "/v1/images/push", {"result": {"digest": "sha256:1"}})
    done = spawn("push", "localhost:5000/x:1")
    assert (done.returncode, done.stdout) == (0, b"localhost:5000/x@sha256:1\n")


def loading(hyperd: FakeHyperd, path: str, result: object) -> None:
    def script(peer: Peer, _request: Request) -> None:
        body = chunk(json.dumps({"result": result}).encode() + b"\n")
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")

    hyperd.on("POST", path, script)


def test_load_from_standard_input_and_from_a_file(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    loading(hyperd, "/v1/images/load", {"images": [image(), image(references=[], id="sha256:2")]})
    done = spawn("load", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"Loaded image: x:1\nLoaded image ID: sha256:2\n"
    assert hyperd.requests[0].body == data
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    assert spawn("load", "-i", str(path)).returncode == 0
    assert hyperd.requests[1].body == data
    assert hyperd.requests[1].headers["transfer-encoding"] == "chunked"


def test_load_of_a_directory_sends_it_as_a_tar(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    (layout / "blobs").mkdir(parents=True)
    (layout / "blobs" / "a").write_bytes(b"blob")
    (layout / "oci-layout").write_text("{}")
    loading(hyperd, "/v1/images/load", {"images": []})
    assert spawn("load", "-i", str(layout)).returncode == 0
    with tarfile.open(fileobj=io.BytesIO(hyperd.requests[0].body)) as tar:
        assert {name.removeprefix("./") for name in tar.getnames()} == {".", "blobs", "blobs/a", "oci-layout"}


def test_load_from_a_terminal_is_refused(hyperd: FakeHyperd, launch: Launch) -> None:
    user, terminal = pty.openpty()
    process = launch("load", stdin=terminal, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert b"that is a terminal" in process.stderr.read()
    assert process.wait(20) == 1
    os.close(user)
    os.close(terminal)


def test_import(hyperd: FakeHyperd, spawn: Spawn) -> None:
    loading(hyperd, "/v1/images/import", image())
    done = spawn("import", "-c", "CMD sh", "-c", "ENV A=b", "-m", "made", "-", "x:1", stdin=b"tar")
    assert (done.returncode, done.stdout.decode().strip()) == (0, "sha256:" + "1" * 64)
    target = "/v1/images/import?reference=x%3A1&message=made&change=CMD%20sh&change=ENV%20A%3Db"
    assert (hyperd.requests[0].target, hyperd.requests[0].body) == (target, b"tar")


def test_save(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(data) + b"0\r\n\r\n"
    hyperd.raw("GET", "/v1/images/save", answer)
    assert spawn("save", "a", "b:1").stdout == data
    assert hyperd.requests[0].target == "/v1/images/save?ref=a&ref=b%3A1&format=docker"
    path = tmp_path / "out.tar"
    assert spawn("save", "--format", "oci", "-o", str(path), "a").returncode == 0
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_save_that_fails_leaves_the_old_file(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    path.write_bytes(b"old")
    hyperd.raw("GET", "/v1/images/save", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    assert spawn("save", "-o", str(path), "a").returncode == 1
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["h.sock", "out.tar"]


def test_login_and_logout(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    hyperd.answer("POST", "/v1/auth", {"status": "Login Succeeded", "identity_token": ""})
    done = spawn("login", "-u", "me", "--password-stdin", "localhost:5000", stdin=b"secret\n")
    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n")
    asked = hyperd.asked("POST", "/v1/auth").json
    assert asked["registry"] == "localhost:5000"
    assert asked["credentials"]["password"] == "secret"
    stored = json.loads((tmp_path / ".docker/config.json").read_text())
    assert stored == {"auths": {"localhost:5000": {"auth": "bWU6c2VjcmV0"}}}
    assert spawn("logout", "localhost:5000").stdout == b"Removing login credentials for localhost:5000\n"
    assert json.loads((tmp_path / ".docker/config.json").read_text()) == {"auths": {}}
    assert spawn("logout", "localhost:5000").stdout == b"Not logged in to localhost:5000\n"


def test_a_refused_login_stores_nothing(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    hyperd.fail("POST", "/v1/auth", 401, code="unauthorized", message="denied")
    done = spawn("login", "-u", "me", "--password-stdin", "localhost:5000", stdin=b"wrong")
    assert (done.returncode, done.stderr) == (1, b"hyper: denied\n")
    assert not (tmp_path / ".docker").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), b"standard input is no terminal"),
        (("--password-stdin",), b"needs --username"),
        (("-u", "me", "--password-stdin"), b"standard input is empty"),
        (("-u", "me", "-p", "x", "--password-stdin"), b"mutually exclusive"),
    ],
)
def test_logins_that_cannot_be(hyperd: FakeHyperd, spawn: Spawn, words: tuple[str, ...], said: bytes) -> None:
    done = spawn("login", *words, "localhost:5000")
    assert done.returncode == 1
    assert said in done.stderr
    assert hyperd.requests == []


# hyperd


def test_version_and_stop_do_not_start_hyperd(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "start_hyperd", lambda _self: pytest.fail("started"))
    assert run("version") == 0
    assert capsys.readouterr().out.endswith("\nhyperd: not running\n")
    assert run("system", "stop") == 0
    assert capsys.readouterr().err == "hyperd is not running\n"


def test_other_commands_start_it(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[tuple[object, ...]] = []

    def start(address: str, *, config: str, log_level: str) -> None:
        started.append((address, config, log_level))

    monkeypatch.setattr("hypercontainer.client.spawn.start_hyperd", start)
    usual = f"{tmp_path}/run/hyper.sock"
    for named in ("", f"unix://{usual}"):
        monkeypatch.setenv("HYPER_HOST", named)
        assert run("--log-level", "debug", "ps") == 1
        assert started == [(usual, "", "debug")]
        started.clear()
        assert "hyperd is not running" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_nobody_is_started_where_the_user_says(
    run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    started: list[str] = []
    monkeypatch.setattr(
        "hypercontainer.client.spawn.start_hyperd", lambda address, **_: started.append(address)
    )
    address = f"unix://{tmp_path}/nosuch.sock"
    if by == "variable":
        monkeypatch.setenv("HYPER_HOST", address)
    words = ("-H", address) if by == "flag" else ()
    for command in (("ps",), ("run", "image"), ("pod", "ls"), ("info",)):
        assert run(*words, *command) in (1, 125)
        assert f"nobody listens at {tmp_path}/nosuch.sock" in capsys.readouterr().err
    assert started == []
    assert run(*words, "system", "start") == 1  # the fake does nothing
    assert started == [f"{tmp_path}/nosuch.sock"]


def test_stop_returns_when_hyperd_is_gone(hyperd: FakeHyperd, run: Run) -> None:
    daemon = subprocess.Popen(["sleep", "60"])
    hyperd.answer("GET", "/v1/info", {"DaemonPid": daemon.pid})

    def shut_down(peer: Peer, _request: Request) -> None:
        peer.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        daemon.terminate()

    hyperd.on("POST", "/v1/system/shutdown", shut_down)
    assert run("system", "stop", "--all") == 0
    assert daemon.poll() is not None or daemon.wait(0) is not None
    assert hyperd.asked("POST", "/v1/system/shutdown").json == {"stop_containers": True}


def test_prune_needs_a_yes(hyperd: FakeHyperd, spawn: Spawn, run: Run, capsys: Capture) -> None:
    hyperd.answer(
        "POST",
        "/v1/system/prune",
        {"containers_deleted": ["a"], "images_deleted": [], "space_reclaimed_bytes": 1000},
    )
    assert spawn("system", "prune").returncode == 1
    assert hyperd.requests == []
    assert run("image", "prune", "-af") == 0
    assert capsys.readouterr().out == "Deleted Containers:\na\n\nTotal reclaimed space: 1kB\n"
    assert hyperd.requests[0].json == {"all": True, "images": True, "containers": False}


def test_events_end_with_their_error(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.lines("GET", "/v1/events", {"error": {"code": "internal", "message": "lagged"}})
    assert run("events") == 1
    assert capsys.readouterr().err == "hyper: lagged\n"


def test_images_as_a_tree(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    facts = {
        "os": "linux",
        "architecture": "arm64",
        "variant": "v8",
        "size_bytes": 10_000_000,
        "content_bytes": 3_600_000,
        "manifest_digest": "sha256:" + "a" * 64,
        "containers": 1,
    }
    several = image(references=["docker.io/library/x:1", "quay.io/a/b:2"], **facts)
    nameless = image(references=[], **{**facts, "variant": "", "containers": 0, "size_bytes": 0})
    hyperd.answer("GET", "/v1/images", {"images": [several, nameless]})
    assert run("images", "--tree") == 0
    assert capsys.readouterr().out.splitlines() == [
        "IMAGE               ID             DISK USAGE   CONTENT SIZE   EXTRA",
        "x:1",
        "quay.io/a/b:2       111111111111       13.6MB          3.6MB   U",
        "└─ linux/arm64/v8   aaaaaaaaaaaa       13.6MB          3.6MB   U",
        "<untagged>          111111111111        3.6MB          3.6MB",
        "└─ linux/arm64      aaaaaaaaaaaa        3.6MB          3.6MB",
    ]


@pytest.mark.parametrize("option", ["-q", "--no-trunc", "--digests", "--format={{.ID}}"])
def test_what_a_tree_has_no_place_for(option: str, run: Run, capsys: Capture) -> None:
    assert run("images", "--tree", option) == 125
    assert "does not go with --tree" in capsys.readouterr().err
