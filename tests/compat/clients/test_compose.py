"""Compose 2.40: a project with what people write into such files, from `up` to `down -v`; 1.29 a small one."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import real_images
from docker_clients import Clients
from docker_sdk import sdk_of
from soak import rounds

STORY = Path(__file__).parent / "story.yaml"
BASE = (
    'services: {base: {image: busybox, init: true, command: ["sh", "-c", "echo worker; exec sleep 600"]}}\n'
)
MORE = "services: {side: {image: busybox, init: true, command: [sleep, '600']}}\n"
OLD = """\
version: "3"
services:
  one: {image: busybox, init: true, command: [sleep, "600"], volumes: ["kept:/kept"]}
  two: {image: busybox, init: true, command: [sleep, "600"], depends_on: [one]}
volumes: {kept: {}}
"""
soak_only = pytest.mark.skipif(not rounds(short=0, soak=1), reason="a long one: make soak has it")
SERVICES = ["cache", "db", "side", "web", "worker"]


class Project:
    def __init__(self, clients: Clients, folder: Path) -> None:
        self._clients, self.folder = clients, folder

    def __call__(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return self._clients.compose(*words, cwd=self.folder, **more)

    def out(self, *words: str, **more: Any) -> str:
        return self(*words, **more).stdout.decode().strip()

    def states(self, *words: str) -> dict[str, str]:
        lines = self.out("ps", "-a", *words, "--format", "json").splitlines()
        return {each["Name"]: each["State"] for each in map(json.loads, lines)}


@pytest.fixture
def project(daemon: Clients, tmp_path: Path) -> Project:
    for name in ("postgres", "redis"):
        with sdk_of(daemon) as sdk, real_images.path(name).open("rb") as archive:
            sdk.images.load(archive)
    (tmp_path / "compose.yaml").write_text(STORY.read_text())
    (tmp_path / "common.yaml").write_text(BASE)
    (tmp_path / "more.yaml").write_text(MORE)
    (tmp_path / "token").write_text("secret\n")
    return Project(daemon, tmp_path)


def test_a_project(project: Project, daemon: Clients) -> None:
    project("up", "-d", "--wait", "--quiet-pull")
    assert project.states() == {f"story-{name}-1": "running" for name in SERVICES}
    asked_inside(project)
    scaled(project)
    handled(project)
    # Of a profile that is not asked for it leaves what has ended, without its network.
    project("down", "-v")
    assert project.states() == {"story-tool-1": "exited"}
    project("--profile", "tools", "down", "-v")
    assert project.states() == {}
    for words in (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q", "--filter", "type=custom")):
        assert daemon.out(*words) == ""


def asked_inside(project: Project) -> None:
    published = project.out("port", "web", "8080")
    if published.startswith("127.0.0.1:") and not project.folder.match("*dockerd*"):
        with urllib.request.urlopen(f"http://{published}/", timeout=10) as answer:
            assert answer.read() == b"served by compose\n"
    inside = ("exec", "-T", "web", "sh", "-c", "cat /run/secrets/token; echo $MODE; ls /started")
    assert project.out(*inside).split() == ["secret", "test", "/started"]
    for name in ("database", "db", "cache", "story-cache-1"):
        assert "Address" in project.out("exec", "-T", "web", "nslookup", "-type=a", name)
    assert project.out("exec", "-T", "db", "psql", "-tAc", "select 41 + 1") == "42"
    assert project.out("exec", "-T", "cache", "redis-cli", "ping") == "PONG"
    assert project("exec", "-T", "side", "sh", "-c", "exit 9", check=False).returncode == 9


def scaled(project: Project) -> None:
    project("up", "-d", "--scale", "worker=3", "--no-recreate")
    workers = [name for name in project.states() if "worker" in name]
    assert sorted(workers) == [f"story-worker-{number}" for number in (1, 2, 3)]
    assert project.out("logs", "--no-log-prefix", "worker").split() == ["worker"] * 3
    assert project.out("top", "worker").count("sleep 600") == 3
    (project.folder / "given").write_text("copied\n")
    project("cp", "given", "worker:/tmp/given")
    assert project.out("exec", "-T", "--index", "2", "worker", "cat", "/tmp/given") == "copied"
    project("cp", "web:/www/index.html", "taken")
    assert (project.folder / "taken").read_text() == "served by compose\n"
    assert len(project.out("ps", "-q", "worker").splitlines()) == 3


def handled(project: Project) -> None:
    project("restart", "-t", "1", "worker")
    project("pause", "side")
    assert project.states("side") == {"story-side-1": "paused"}
    project("unpause", "side")
    project("kill", "side")
    project("stop", "-t", "5", "cache")
    assert project.states("side", "cache") == {"story-side-1": "exited", "story-cache-1": "exited"}
    project("start", "cache")
    assert project.out("run", "--rm", "-T", "tool", "echo", "once") == "once"
    project("--profile", "tools", "up", "--no-deps", "tool")
    assert project.states("tool") == {"story-tool-1": "exited"}
    # It says EOF at the end, and that this is an error.
    past = ("events", "--json", "--since", "10m", "--until", "0s")
    events = project(*past, check=False).stdout.decode().splitlines()
    assert {"create", "start", "die"} <= {json.loads(each)["action"] for each in events}
    assert [each["Name"] for each in json.loads(project.out("ls", "--format", "json"))] == ["story"]
    assert "busybox" in project.out("images")
    assert "story-db-1" in project.out("stats", "--no-stream")
    assert "story-web-1" in project.out("ps", "--filter", "status=running", "--format", "{{.Name}}")
    # Nothing has changed, so nothing is made anew; then one service has.
    before = project.out("ps", "-q", "db")
    project("up", "-d", "--wait", "db", "cache", "web")
    assert project.out("ps", "-q", "db") == before
    changed = project.out("ps", "-q", "web")
    project("up", "-d", "--wait", "web", more={"MODE": "other"})
    assert project.out("ps", "-q", "web") != changed
    assert project.out("exec", "-T", "web", "sh", "-c", "echo $MODE") == "other"


@soak_only
def test_the_one_in_python(daemon: Clients, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(OLD)
    folder = {"cwd": tmp_path}
    daemon.compose1("-p", "old", "up", "-d", **folder)
    assert sorted(daemon.out("ps", "--format", "{{.Names}}").split()) == ["old_one_1", "old_two_1"]
    assert daemon.compose1("-p", "old", "exec", "-T", "one", "hostname", **folder).returncode == 0
    daemon.compose1("-p", "old", "up", "-d", "--scale", "two=2", **folder)
    assert len(daemon.out("ps", "-q").split()) == 3
    daemon.compose1("-p", "old", "down", "-v", "-t", "1", **folder)
    assert daemon.out("ps", "-aq") == daemon.out("volume", "ls", "-q") == ""
