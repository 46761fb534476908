"""What the commands for pods, volumes, ports and manifests ask of hyperd, say, and give as their status."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_hyperd import STDOUT, FakeHyperd, control, frame
from hypercontainer.contract import calls as messages
from hypercontainer.contract import volume_calls
from hypercontainer.contract.spec import PodSpec
from terminal import Terminal

Run = Callable[..., int]
Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Launch = Callable[..., subprocess.Popen[bytes]]
Capture = pytest.CaptureFixture[str]
CREATED = {"id": "0123456789ab", "name": "shop", "containers": [], "warnings": ["one"]}


# Pods


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        ((), {}),
        (("shop",), {"name": "shop"}),
        (("--name", "shop", "-l", "a=b", "--annotation", "c=d"),
         {"name": "shop", "labels": {"a": "b"}, "annotations": {"c": "d"}}),
        (("-p", "8080:80", "--network", "none", "--dns", "1.1.1.1", "--dns-search", "lan", "--add-host", "a:::1"),
         {"ports": [{"container_port": 80, "host_port": 8080, "host_ip": "0.0.0.0", "protocol": "tcp"}],
          "networks": [{"name": "none"}], "dns": ["1.1.1.1"], "dns_search": ["lan"], "extra_hosts": ["a:::1"]}),
        (("-p", "udp:53:5353",),
         {"ports": [{"container_port": 5353, "host_port": 53, "host_ip": "0.0.0.0", "protocol": "udp"}]}),
        (("-m", "1g", "--cpus", "2", "--shm-size", "1m", "--storage-opt", "size=5g", "--sysctl", "a.b=1"),
         {"memory_bytes": 1 << 30, "cpus": 2.0, "shm_size_bytes": 1 << 20, "disk_size_bytes": 5 << 30,
          "sysctls": {"a.b": "1"}}),
        (("-h", "box", "--domainname", "lan", "--mac-address", "02:00:00:00:00:01"),
         {"hostname": "box", "domainname": "lan", "mac_address": "02:00:00:00:00:01"}),
        (("--share-pid",), {"share_pids": True}),
        (("--share", "+pid"), {"share_pids": True}),
        (("--share", "net,ipc"), {}),
        (("--kernel", "own", "--accel", "tcg", "--no-template", "--kernel-args", "a b"),
         {"kernel": "own", "accelerator": "tcg", "template": False, "kernel_args": ["a", "b"]}),
    ],
)  # fmt: skip
def test_pod_create(
    hyperd: FakeHyperd, run: Run, capsys: Capture, words: tuple[str, ...], spec: dict[str, Any]
) -> None:
    hyperd.answer("POST", "/v1/pods", CREATED, 201)
    assert run("pod", "create", *words) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("0123456789ab\n", "WARNING: one\n")
    asked = hyperd.asked("POST", "/v1/pods").json
    assert asked == spec
    msgspec.convert(asked, PodSpec)


def test_pod_create_in_place_of_another(hyperd: FakeHyperd, run: Run) -> None:
    hyperd.fail("DELETE", "/v1/pods/shop", 404, code="not_found", message="no pod shop")
    hyperd.answer("POST", "/v1/pods", CREATED, 201)
    assert run("pod", "create", "--replace", "shop") == 0
    assert hyperd.requests[0].target == "/v1/pods/shop?force=true"


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (("pod", "start", "a"), "start", None),
        (("pod", "stop", "a"), "stop", {}),
        (("pod", "stop", "-t", "3", "a"), "stop", {"timeout_s": 3}),
        (("pod", "restart", "--time=0", "a"), "restart", {"timeout_s": 0}),
        (("pod", "kill", "a"), "kill", {"signal": "KILL"}),
        (("pod", "kill", "-s", "HUP", "a"), "kill", {"signal": "HUP"}),
        (("pod", "pause", "a"), "pause", None),
        (("pod", "unpause", "a"), "unpause", None),
    ],
)
def test_posts(
    hyperd: FakeHyperd, run: Run, capsys: Capture, words: tuple[str, ...], path: str, body: object
) -> None:
    hyperd.answer("POST", f"/v1/pods/a/{path}", status=204)
    assert run(*words) == 0
    assert hyperd.asked("POST", f"/v1/pods/a/{path}").json == body
    assert capsys.readouterr().out == "a\n"


def test_all_of_them_are_those_that_it_is_for(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    states = {"a": "running", "b": "created", "c": "paused", "d": "failed"}
    found = [{"name": name, "state": state} for name, state in states.items()]
    hyperd.answer("GET", "/v1/pods", {"pods": found})
    for name in states:
        hyperd.answer("POST", f"/v1/pods/{name}/stop", status=204)
        hyperd.answer("DELETE", f"/v1/pods/{name}", status=204)
    assert run("pod", "stop", "--all") == 0
    assert capsys.readouterr().out == "a\nc\n"
    assert run("pod", "rm", "-af") == 0
    assert capsys.readouterr().out == "a\nb\nc\nd\n"


@pytest.mark.parametrize(("words", "status"), [(("pod", "rm", "a"), 1), (("pod", "rm", "-f", "a"), 0)])
def test_rm_of_what_is_not_there(hyperd: FakeHyperd, run: Run, words: tuple[str, ...], status: int) -> None:
    hyperd.fail("DELETE", "/v1/pods/a", 404, code="not_found", message="none")
    assert run(*words) == status


def test_wait_and_exists(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("GET", "/v1/pods/a/wait", {"exit_status": 3, "error": ""})
    assert run("pod", "wait", "a") == 0
    assert capsys.readouterr().out == "3\n"
    hyperd.answer("GET", "/v1/pods/a", {})
    assert run("pod", "exists", "a") == 0
    hyperd.fail("GET", "/v1/pods/b", 404, code="not_found", message="none")
    assert run("pod", "exists", "b") == 1
    hyperd.fail("GET", "/v1/pods/c", 500, code="internal", message="broken")
    assert run("pod", "exists", "c") == 1
    assert capsys.readouterr().err == "hyper: broken\n"


# What they write


def line(container: str, data: bytes, channel: int = 1) -> dict[str, Any]:
    return {"container": container, "channel": channel, "data": base64.b64encode(data).decode()}


def knows(hyperd: FakeHyperd, *names: str) -> None:
    hyperd.answer("GET", "/v1/pods/shop", {"containers": [{"name": name} for name in names]})


def test_logs_are_behind_their_names(hyperd: FakeHyperd, spawn: Spawn) -> None:
    knows(hyperd, "web", "cache")
    hyperd.lines(
        "GET",
        "/v1/pods/shop/logs",
        line("web", b"one\ntwo"),
        line("cache", b"between\n"),
        line("web", b" goes on\n\n"),
        line("web", b"trouble\n", 2),
        line("late", b"\xff, and no end"),
    )
    done = spawn("pod", "logs", "-f", "--tail", "5", "-t", "--since", "2026-01-31T10:00:00.5Z", "shop")
    assert done.returncode == 0
    assert done.stdout == (
        b"web   | one\ncache | between\nweb   | two goes on\nweb   | \nlate  | \xff, and no end\n"
    )
    assert done.stderr == b"web   | trouble\n"
    assert (
        hyperd.requests[1].target
        == "/v1/pods/shop/logs?follow=true&timestamps=true&since=1769853600.500000000&tail=5"
    )


def test_names_have_colours_on_a_terminal(hyperd: FakeHyperd, launch: Launch) -> None:
    knows(hyperd, "web", "cache")
    hyperd.lines("GET", "/v1/pods/shop/logs", line("web", b"a\n"), line("cache", b"b\n"), line("web", b"c\n"))
    terminal = Terminal()
    try:
        launch("pod", "logs", "shop", **terminal.options())
        seen = terminal.read_until(b"c\r\n")
    finally:
        terminal.close()
    web, cache = b"\x1b[36mweb   |\x1b[0m ", b"\x1b[33mcache |\x1b[0m "
    assert seen == web + b"a\r\n" + cache + b"b\r\n" + web + b"c\r\n"


def test_logs_of_one_container(hyperd: FakeHyperd, spawn: Spawn) -> None:
    knows(hyperd, "web", "longername")
    hyperd.lines("GET", "/v1/pods/shop/logs", line("longername", b"no\n"), line("web", b"yes\n"))
    done = spawn("pod", "logs", "-c", "web", "shop")
    assert (done.returncode, done.stdout) == (0, b"web | yes\n")
    done = spawn("pod", "logs", "-c", "nope", "shop")
    assert (done.returncode, done.stderr) == (
        1,
        b"hyper: no container nope in pod shop\n  hint: there are web, longername\n",
    )


def test_a_line_without_end_takes_no_memory(hyperd: FakeHyperd, spawn: Spawn) -> None:
    knows(hyperd, "web")
    hyperd.lines("GET", "/v1/pods/shop/logs", *[line("web", b"x" * 40_000)] * 4)
    done = spawn("pod", "logs", "shop")
    assert done.stdout == b"web | " + b"x" * 80_000 + b"\nweb | " + b"x" * 80_000 + b"\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": {"code": "internal", "message": "disk"}}, b"hyper: disk\n"),
        ({"container": "web"}, b"hyper: hyperd sent a log line of no known form"),
        ({"container": "web", "channel": 1, "data": "?"}, b"hyper: hyperd sent a log line of no known form"),
        ({"container": "web", "channel": 3, "data": ""}, b"hyper: hyperd sent a log line of a channel"),
    ],
)
def test_logs_that_fail_on_the_way(hyperd: FakeHyperd, spawn: Spawn, answer: object, said: bytes) -> None:
    knows(hyperd, "web")
    hyperd.lines("GET", "/v1/pods/shop/logs", line("web", b"kept"), answer)
    done = spawn("pod", "logs", "shop")
    assert (done.returncode, done.stdout) == (1, b"web | kept\n")
    assert done.stderr.startswith(said)


# Containers in pods


def test_run_in_a_new_pod(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.answer("POST", "/v1/pods", CREATED, 201)
    created = control(created={"id": "1", "name": "web", "warnings": []})
    hyperd.stream("/v1/run", lambda peer: peer.send(created + frame(STDOUT, b"hi") + control(exit=3)))
    done = spawn("run", "--pod", "new:shop", "-p", "80", "-h", "box", "-m", "64m", "-e", "A=1", "image")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"hi", b"")
    pod, container = hyperd.asked("POST", "/v1/pods").json, hyperd.asked("POST", "/v1/run").json
    assert set(pod) == {"name", "ports", "hostname"}
    assert container == {
        "image": "image",
        "memory_bytes": 64 << 20,
        "env": ["A=1"],
        "pod": "shop",
        "pull": "never",
    }


@pytest.mark.parametrize("option", ["--vm", "-m"])
def test_exec_in_the_vm(hyperd: FakeHyperd, spawn: Spawn, option: str) -> None:
    hyperd.answer("POST", "/v1/pods/shop/exec", {"id": "e1"}, 201)
    hyperd.stream("/v1/execs/e1/start", lambda peer: peer.send(frame(STDOUT, b"hi") + control(exit=4)))
    done = spawn("exec", option, "shop", "ls", "-l")
    assert (done.returncode, done.stdout) == (4, b"hi")
    assert hyperd.asked("POST", "/v1/pods/shop/exec").json == {"command": ["ls", "-l"]}


def test_exec_in_the_vm_of_a_container(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.fail("POST", "/v1/pods/web/exec", 404, code="not_found", message="no pod web")
    hyperd.answer("GET", "/v1/containers/web", {"pod": "p1"})
    hyperd.answer("POST", "/v1/pods/p1/exec", {"id": "e1"}, 201)
    hyperd.answer("POST", "/v1/execs/e1/start", status=204)
    assert run("exec", "-d", "--vm", "web", "true") == 0
    hyperd.fail("POST", "/v1/pods/none/exec", 404, code="not_found", message="no pod none")
    assert run("exec", "-d", "--vm", "none", "true") == 1
    assert "no pod none" in capsys.readouterr().err


# Ports


def test_ports_that_change(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    given = {"container_port": 80, "host_port": 0, "host_ip": "127.0.0.1", "protocol": "udp"}
    hyperd.answer("POST", "/v1/pods/shop/ports", {"ports": [given | {"host_port": 40000}]})
    assert run("ports", "add", "shop", "127.0.0.1::80/udp") == 0
    assert capsys.readouterr().out == "80/udp -> 127.0.0.1:40000\n"
    assert hyperd.asked("POST", "/v1/pods/shop/ports").json == {"ports": [given]}
    msgspec.convert(hyperd.requests[0].json, messages.PortsBody)
    hyperd.answer("DELETE", "/v1/pods/shop/ports", status=204)
    assert run("ports", "delete", "shop", "8080:80", "9000-9001:90-91") == 0
    taken = hyperd.asked("DELETE", "/v1/pods/shop/ports").json["ports"]
    assert [(port["host_port"], port["container_port"]) for port in taken] == [
        (8080, 80),
        (9000, 90),
        (9001, 91),
    ]


@pytest.mark.parametrize(
    ("container", "pod", "asked"),
    [
        ({"name": "ab", "pod": "p1"}, {"name": "shop"}, "p1"),  # "ab" begins the ID of shop
        ({"name": "ab", "pod": "p1"}, {"name": "ab"}, "ab"),
        ({"name": "ab", "pod": "p1"}, None, "p1"),
        ({"name": "cache", "pod": "p1"}, {"name": "shop"}, "ab"),
        (None, {"name": "shop"}, "ab"),
    ],
)
def test_a_containers_name_is_not_the_beginning_of_a_pods_id(
    hyperd: FakeHyperd,
    run: Run,
    container: dict[str, str] | None,
    pod: dict[str, str] | None,
    asked: str,
) -> None:
    for path, found in (("/v1/containers/ab", container), ("/v1/pods/ab", pod)):
        if found is None:
            hyperd.fail("GET", path, 404, code="not_found", message="nobody")
        else:
            hyperd.answer("GET", path, found)
    hyperd.answer("GET", f"/v1/pods/{asked}/ports", {"ports": []})
    assert run("ports", "ls", "ab") == 0
    assert hyperd.requests[-1].path == f"/v1/pods/{asked}/ports"


# Volumes


def test_volumes(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    for name in ("data", "0" * 32):
        hyperd.answer("POST", "/v1/volumes", {"name": name}, 201)
    assert run("volume", "create", "--size", "2g", "--label", "a=b", "data") == 0
    assert run("volume", "create", "-o", "size=1m") == 0
    assert capsys.readouterr().out == f"data\n{'0' * 32}\n"
    assert [request.json for request in hyperd.requests] == [
        {"name": "data", "size_bytes": 2 << 30, "labels": {"a": "b"}},
        {"size_bytes": 1 << 20},  # hyperd gives it an ID
    ]
    msgspec.convert(hyperd.requests[0].json, volume_calls.VolumeBody)
    hyperd.answer("DELETE", "/v1/volumes/data", status=204)
    hyperd.fail("DELETE", "/v1/volumes/busy", 409, code="conflict", message="volume busy: pod a uses it")
    assert run("volume", "rm", "busy", "data") == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("data\n", "hyper: volume busy: pod a uses it\n")


def test_volumes_are_pruned(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("POST", "/v1/volumes/prune", {"removed": ["a", "b"], "space_reclaimed_bytes": 2_000_000})
    assert run("volume", "prune", "-f") == 0
    assert capsys.readouterr().out == "Deleted Volumes:\na\nb\n\nTotal reclaimed space: 2MB\n"
    assert hyperd.requests[0].json == {"all": False, "filters": {}}
    hyperd.answer("POST", "/v1/volumes/prune", {"removed": [], "space_reclaimed_bytes": 0})
    words = ("--filter", "label=a", "--filter", "label!=b=c", "--filter", "all=true")
    assert run("volume", "prune", "-af", *words) == 0
    body = hyperd.requests[1].json
    assert body == {"all": True, "filters": {"label": ["a"], "label!": ["b=c"], "all": ["true"]}}
    msgspec.convert(body, volume_calls.PruneVolumesBody)


def test_the_systems_prune_takes_volumes_only_when_told(
    hyperd: FakeHyperd, run: Run, capsys: Capture
) -> None:
    answer = {"containers_deleted": [], "images_deleted": [], "space_reclaimed_bytes": 0}
    hyperd.answer("POST", "/v1/system/prune", answer)
    hyperd.answer("POST", "/v1/system/prune", answer | {"volumes_deleted": ["data"]})
    hyperd.answer("POST", "/v1/networks/prune", {"removed": ["back"]})
    assert run("system", "prune", "-f") == 0
    assert run("system", "prune", "-f", "--volumes") == 0
    first, networks, second, _ = (request.json for request in hyperd.requests)
    assert networks == {}
    assert "volumes" not in first
    assert second == first | {"volumes": True}
    msgspec.convert(second, messages.PruneBody)
    assert "Deleted Networks:\nback\n\nDeleted Volumes:\ndata\n" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pod", "volume"])
def test_inspect_of_what_is_not_there(hyperd: FakeHyperd, run: Run, capsys: Capture, kind: str) -> None:
    assert run("inspect", "--type", kind, "nope") == 1
    assert run(kind, "inspect", "nope") == 1
    assert {request.path for request in hyperd.requests} == {f"/v1/{kind}s/nope"}
    assert capsys.readouterr().out == "[]\n[]\n"


# Manifests


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "shop.yaml"
    path.write_text("kind: Pod\nspec:\n  containers:\n  - {name: a, image: localhost:5000/private}\n")
    return str(path)


@pytest.mark.parametrize(
    ("words", "verb", "said"),
    [
        (("play",), "play", {"replace": False, "start": True}),
        (("play", "--replace", "--no-start"), "play", {"replace": True, "start": False}),
        (("play", "kube", "--start=false"), "play", {"replace": False, "start": False}),
        (("kube", "play"), "play", {"replace": False, "start": True}),
        (("play", "--dry-run"), "play", {"replace": False, "start": True, "dry_run": True}),
        (("play", "--skip-unsupported"), "play", {"replace": False, "start": True, "skip_unsupported": True}),
        (("play", "-f"), "play", {"replace": False, "start": True}),
        (("down",), "down", {"volumes": False}),
        (("down", "--dry-run", "--filename"), "down", {"volumes": False, "dry_run": True}),
        (("kube", "down", "--volumes"), "down", {"volumes": True}),
        (("play", "--down"), "down", {"volumes": False}),
    ],
)
def test_manifests(
    hyperd: FakeHyperd,
    run: Run,
    capsys: Capture,
    manifest: str,
    words: tuple[str, ...],
    verb: str,
    said: dict[str, bool],
) -> None:
    played = {"kind": "Pod", "name": "shop", "action": "created", "pods": ["shop"], "warnings": ["look"]}
    hyperd.lines("POST", f"/v1/manifests/{verb}", {"message": "making"}, {"result": [played]})
    assert run(*words, manifest) == 0
    shown = capsys.readouterr()
    dry = " (dry run)" if "--dry-run" in words else ""
    assert (shown.out, shown.err) == (f"pod/shop created{dry}\n", "making\nWARNING: look\n")
    assert len(hyperd.requests) == 1  # without credentials the images are hyperd's to fetch
    assert hyperd.requests[0].json == {"text": Path(manifest).read_text(), **said}
    msgspec.convert(hyperd.requests[0].json, messages.PlayBody if verb == "play" else messages.DownBody)


def test_private_images_of_a_manifest_are_fetched_first(
    hyperd: FakeHyperd, run: Run, tmp_path: Path, manifest: str
) -> None:
    config = tmp_path / ".docker" / "config.json"
    config.parent.mkdir()
    auth = base64.b64encode(b"me:secret").decode()
    config.write_text(json.dumps({"auths": {"localhost:5000": {"auth": auth}}}))
    hyperd.fail("GET", "/v1/images/inspect", 404, code="not_found", message="none")
    hyperd.lines("POST", "/v1/images/pull", {"result": {}})
    hyperd.lines("POST", "/v1/manifests/play", {"result": []})
    assert run("play", "-q", manifest) == 0
    asked = hyperd.asked("POST", "/v1/images/pull").json
    assert (asked["reference"], asked["credentials"]["password"]) == ("localhost:5000/private", "secret")
    assert b"secret" not in hyperd.asked("POST", "/v1/manifests/play").body


def test_several_files_are_one(hyperd: FakeHyperd, spawn: Spawn, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\t"kind": "Pod"}')
    hyperd.lines("POST", "/v1/manifests/play", {"result": []})
    for words in ((str(path), "-"), ("-f", str(path), "-f", "-"), ("-f", str(path), "-")):
        assert spawn("play", *words, stdin=b"\xef\xbb\xbfkind: Service\n").returncode == 0
        assert hyperd.requests[-1].json["text"] == '{ "kind": "Pod"}\n---\nkind: Service\n'
    done = spawn("play", "-", stdin=b"\xff")
    assert (done.returncode, done.stderr) == (1, b"hyper: manifest -: not UTF-8 at byte 0\n")


@pytest.mark.parametrize("words", [("play",), ("down",), ("play", "-f", "-", "-")])
def test_which_manifests_has_to_be_said_and_once(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words) == 1


def test_pods_that_are_gone_are_named(hyperd: FakeHyperd, run: Run, capsys: Capture, manifest: str) -> None:
    played = {
        "kind": "Deployment",
        "name": "web",
        "action": "changed",
        "pods": ["web-0"],
        "removed": ["web-1", "web-2"],
    }
    hyperd.lines("POST", "/v1/manifests/play", {"result": [played]})
    assert run("play", manifest) == 0
    assert capsys.readouterr().out == "deployment/web changed: web-1, web-2 removed\n"


CRON_JOB = {
    "name": "nightly",
    "schedule": "@daily",
    "time_zone": "",
    "suspended": False,
    "concurrency": "Allow",
    "last": "2026-11-27T00:00:00.000000000Z",
    "next": "2026-11-28T00:00:00.000000000Z",
    "problem": "no such image",
    "runs": [
        {"name": "nightly-1", "state": "succeeded", "pods": []},
        {"name": "nightly-2", "state": "active", "pods": []},
    ],
}


def test_cron_jobs_are_listed(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("GET", "/v1/cronjobs", {"cron_jobs": [CRON_JOB]})
    assert run("cronjob", "ls") == 0
    shown = capsys.readouterr()
    head, line = shown.out.splitlines()
    assert head.split() == "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE NEXT SCHEDULE".split()
    assert line.split() == "nightly @daily UTC False 1 2026-11-27T00:00:00Z 2026-11-28T00:00:00Z".split()
    assert "no such image" in shown.err
    assert run("cronjob", "ls", "--format", "{{.Succeeded}} {{.Failed}} {{.Jobs}}") == 0
    assert capsys.readouterr().out == "1 0 nightly-1,nightly-2\n"
    assert run("cronjob", "ls", "-q") == 0
    assert capsys.readouterr().out == "nightly\n"


def test_a_cron_job_is_run_by_hand(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("POST", "/v1/cronjobs/nightly/run", {"job": "nightly-manual-0a1b"})
    assert run("cronjob", "run", "nightly") == 0
    assert capsys.readouterr().out == "nightly-manual-0a1b\n"


def test_a_manifest_is_written_to_a_new_file(hyperd: FakeHyperd, run: Run, tmp_path: Path) -> None:
    hyperd.answer("POST", "/v1/manifests/generate", {"text": "kind: Pod\n"})
    path = tmp_path / "out.yaml"
    assert run("generate", "kube", "-f", str(path), "a", "b") == 0
    assert path.read_text() == "kind: Pod\n"
    assert hyperd.requests[0].json == {"refs": ["a", "b"]}
    assert run("kube", "generate", "-f", str(path), "a") == 1
