"""testcontainers, of Python and of npm, each in a process of its own: what their modules, strategies and files ask for,
reuse, and Ryuk (a stand-in of ours) when such a process is killed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import official_images
from docker_clients import Absent, Clients, program
from docker_sdk import clear, sdk_of
from soak import rounds
from until import until

STORIES = {
    "python": Path(__file__).parents[1] / "python/testcontainers_story.py",
    "npm": Path(__file__).parents[1] / "node/testcontainers.cjs",
}
# The machine of the tests may be a container itself; the daemon is beside it all the same.
SETTINGS = {
    "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
    # Of "localhost" Node tries both addresses, each for a quarter of a second, which a busy machine may need.
    "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",
    "RYUK_CONTAINER_IMAGE": official_images.RYUK,
    "SSHD_CONTAINER_IMAGE": official_images.SSHD,
    "RYUK_RECONNECTION_TIMEOUT": "1s",
    "TESTCONTAINERS_RYUK_RECONNECTION_TIMEOUT": "1s",
    "TC_POOLING_INTERVAL": "0.1",
    "TC_MAX_TRIES": "1200",
}
COMPOSED = """\
services:
  web:
    image: busybox
    init: true
    command: ["sh", "-c", "mkdir /www; echo $$SAID > /www/index.html; echo ready; exec httpd -f -p 8080 -h /www"]
    environment: {SAID: "${SAID:-by compose}"}
    ports: ["8080"]
    healthcheck: {test: ["CMD", "wget", "-qO/dev/null", "http://127.0.0.1:8080/"], interval: 200ms}
  other: {image: busybox, init: true, command: [sleep, "300"]}
"""
TIMEOUT_S = 180.0
SESSION = "org.testcontainers.session-id"
soak_only = pytest.mark.skipif(not rounds(short=0, soak=1), reason="a long one: make soak has it")
both = pytest.mark.parametrize("language", STORIES)


class Stories:
    """Of testcontainers at one daemon, which has Ryuk's stand-in."""

    def __init__(self, clients: Clients, folder: Path) -> None:
        self.clients, self._folder = clients, folder
        try:
            argv = {language: clients.script_argv(script) for language, script in STORIES.items()}
            docker = {"PATH": f"{program('docker').parent}:{clients.environment['PATH']}"}
        except Absent as absent:
            pytest.skip(str(absent))
        self._argv, self._environment = argv, {**clients.environment, **SETTINGS, **docker}
        self.load(official_images.ryuk(folder))

    def load(self, archive: bytes) -> None:
        with sdk_of(self.clients) as sdk:
            sdk.images.load(archive)

    def folder(self, name: str, file: str, text: str) -> Path:
        made = self._folder / name
        made.mkdir()
        (made / file).write_text(text)
        return made

    def __call__(self, language: str, *words: str) -> Any:
        """What a story has to tell."""
        return told(self.begun(language, *words))

    def begun(self, language: str, *words: str) -> subprocess.Popen[bytes]:
        argv = [*self._argv[language], *words]
        return subprocess.Popen(argv, env=self._environment, stdout=subprocess.PIPE)


def told(begun: subprocess.Popen[bytes]) -> Any:
    with begun:
        said, _ = begun.communicate(timeout=TIMEOUT_S)
    assert begun.returncode == 0, f"status {begun.returncode}, and it said {said.decode()}"
    return json.loads(said.splitlines()[-1])


@pytest.fixture
def stories(daemon: Clients, tmp_path: Path) -> Stories:
    return Stories(daemon, tmp_path)


@pytest.fixture(params=["builder", "dockerd"])
def builds(
    request: pytest.FixtureRequest, daemons: Callable[[str], Clients], tmp_path: Path
) -> Iterator[Stories]:
    made = Stories(daemons(request.param), tmp_path)
    yield made
    clear(made.clients)


def test_containers_and_networks(stories: Stories) -> None:
    stories.load(official_images.redis())
    seen = {"alias": [0, "served\n"], "bound": "given\n", "written": "from inside\n", "fetched": "given\n"}
    begun = [
        stories.begun(language, "whole", str(stories.folder(language, "given", "given\n")))
        for language in STORIES
    ]
    python, npm = [told(each) for each in begun]
    more = {"configured": [3, "a value /tmp\n"], "copied": "served\n", "logs": ["ready\n", ""]}
    assert python == {**seen, **more, "redis": [True, "value", "7"]}
    more = {"configured": [3, "a value /tmp\n", "apart\n"], "copied": "640 6\n", "again": "served\n"}
    assert npm == {**seen, **more, "line": "ready", "redis": "+OK\r\n+OK\r\n$5\r\nvalue\r\n+OK\r\n"}


def test_ryuk_when_its_client_is_killed(stories: Stories) -> None:
    clients_are_killed(stories)


@soak_only
def test_ryuk_on_qemu(daemons: Callable[[str], Clients], tmp_path: Path) -> None:
    clients_are_killed(Stories(daemons("qemu"), tmp_path))


def clients_are_killed(stories: Stories) -> None:
    begun = [stories.begun(language, "dies") for language in STORIES]
    try:
        for each in begun:
            assert each.stdout is not None
            session = each.stdout.readline().decode().strip()
            assert session, "it has died by itself"
            assert all(left(stories.clients, f"{SESSION}={session}"))
    finally:
        for each in begun:
            each.kill()
            each.communicate()
    until(lambda: not any(left(stories.clients, SESSION)), "nothing is left of either")
    # Python's has no session.
    until(lambda: not any(left(stories.clients, "org.testcontainers")), "and no Ryuk")


def left(clients: Clients, label: str) -> list[Any]:
    """Containers, networks, volumes and images that have it."""
    filters = {"label": label}
    with sdk_of(clients) as sdk:
        kinds = (sdk.api.containers(all=True, filters=filters), sdk.api.networks(filters=filters))
        return [*kinds, sdk.api.volumes(filters=filters)["Volumes"], sdk.api.images(filters=filters)]


def test_reuse(stories: Stories) -> None:
    first = stories("npm", "reuse")
    assert stories("npm", "reuse") == first
    with sdk_of(stories.clients) as sdk:
        sdk.api.stop(first, timeout=0)
        assert stories("npm", "reuse") == first
        assert "org.testcontainers.container-hash" in sdk.containers.get(first).labels


@soak_only
def test_postgres(stories: Stories) -> None:
    stories.load(official_images.postgres())
    assert stories("python", "postgres") == [42, "user", "base", 2]
    assert stories("npm", "postgres") == [[0, "SELECT 1"], [0, "DELETE 1"], [0, "42|user"]]


@soak_only
def test_ports_of_the_host(stories: Stories) -> None:
    stories.load(official_images.sshd())
    assert stories("npm", "exposes") == ["of the host\n"] * 2


@soak_only
@both
def test_compose(stories: Stories, language: str) -> None:
    folder = stories.folder("project", "compose.yaml", COMPOSED)
    seen = {"python": ["0.0.0.0", "by compose\n", 1], "npm": "by testcontainers\n"}
    assert stories(language, "compose", str(folder)) == seen[language]
    label = "com.docker.compose.project"
    until(lambda: not any(left(stories.clients, label)[:3]), "nothing is left of the project")


@soak_only
def test_builds(builds: Stories) -> None:
    text = "FROM busybox:latest\nARG SAID=nothing\nRUN echo $SAID > /said\n"
    folder = str(builds.folder("context", "Dockerfile", text))
    assert builds("python", "build", folder) == [0, "built\n"]
    for builder in ("classic", "buildkit"):
        assert builds("npm", "build", folder, builder) == "built\n"
    until(lambda: not any(left(builds.clients, SESSION)), "nothing is left of what was built")
