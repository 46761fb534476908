"""`compose build`, `up --build` and `buildx bake` of one file: stages, arguments, secrets, contexts beside it, and what
is kept of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from docker_clients import Clients
from docker_sdk import clear
from soak import rounds

pytestmark = pytest.mark.skipif(not rounds(short=0, soak=1), reason="builds: make soak has them")
TIMEOUT_S = 300.0
PROJECT = """
name: built
services:
  dev:
    image: built-dev:1
    init: true
    build: &build
      context: app
      target: dev
      args: {WHO: compose}
      secrets: [key]
      additional_contexts: {more: ./more}
      tags: ["localhost/built:2"]
      labels: {from: compose}
  prod: {build: {<<: *build, target: prod, args: {WHO: "${WHO:-nobody}"}, tags: []}, network_mode: none}
  inline:
    build:
      dockerfile_inline: |
        FROM busybox
        RUN echo inline > /made
        CMD ["cat", "/made"]
secrets: {key: {environment: KEY}}
"""
STAGES = """
FROM busybox AS base
ARG WHO=nobody
RUN --mount=type=secret,id=key echo "for $WHO by $(cat /run/secrets/key)" > /who
FROM base AS dev
COPY --from=more extra /extra
CMD ["sh", "-c", "cat /who /extra; exec sleep 600"]
FROM base AS prod
CMD ["cat", "/who"]
"""
KEY = {"KEY": "s3cr3t"}


@pytest.fixture(scope="module", params=["builder", "dockerd"])
def daemon(request: pytest.FixtureRequest, daemons: Callable[[str], Clients]) -> Iterator[Clients]:
    made = daemons(request.param)
    yield made
    clear(made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("app", "more"):
        (tmp_path / name).mkdir()
    (tmp_path / "app/Dockerfile").write_text(STAGES)
    (tmp_path / "more/extra").write_text("extra\n")
    (tmp_path / "compose.yaml").write_text(PROJECT)
    return tmp_path


def compose(daemon: Clients, folder: Path, *words: str, **more: str) -> str:
    done = daemon.compose(*words, cwd=folder, timeout_s=TIMEOUT_S, more=KEY | more)
    return (done.stdout + done.stderr).decode()


def started(daemon: Clients) -> str:
    """But for what builds."""
    return daemon.out("ps", "-aq", "--filter", "label=com.docker.compose.project")


def test_a_project_of_builds(daemon: Clients, folder: Path) -> None:
    said = compose(daemon, folder, "build")
    for name in ("built-dev:1", "localhost/built:2", "built-prod", "built-inline"):
        assert name in said or f"docker.io/library/{name}" in said
    assert "hyper.build" not in said
    labels = daemon.json("image", "inspect", "localhost/built:2")[0]["Config"]["Labels"]
    assert labels["from"] == "compose" and labels["com.docker.compose.service"] == "dev"
    compose(daemon, folder, "up", "-d")
    assert "for compose by s3cr3t" in compose(daemon, folder, "logs", "dev")
    assert "inline" in compose(daemon, folder, "logs", "inline")

    # What has changed is built, and what was made of it is made anew; the rest is as it was.
    before = compose(daemon, folder, "ps", "-q", "dev")
    said = compose(daemon, folder, "up", "-d", "--build", WHO="you")
    assert "CACHED" in said
    assert "for you by s3cr3t" in compose(daemon, folder, "logs", "prod")
    assert compose(daemon, folder, "ps", "-q", "dev") == before
    compose(daemon, folder, "down", "-t", "1", "--rmi", "all")
    assert daemon.out("image", "ls", "-q", "built-*") == started(daemon) == ""


def test_bake_and_the_cache(daemon: Clients, folder: Path) -> None:
    words = ("--set", "dev.args.WHO=bake", "--set", "dev.tags=baked:1", "dev")
    daemon.docker("buildx", "bake", *words, cwd=folder, timeout_s=TIMEOUT_S, more=KEY)
    assert daemon.out("run", "--rm", "baked:1", "cat", "/who") == "for bake by s3cr3t"
    assert "Total:" in daemon.out("buildx", "du")
    kept = json.loads(daemon.out("system", "df", "-v", "--format", "json"))["BuildCache"]
    assert any("WHO" in each["Description"] or each["CacheType"] == "regular" for each in kept)
    assert "Total" in daemon.out("buildx", "prune", "-af")
    kept = json.loads(daemon.out("system", "df", "-v", "--format", "json"))["BuildCache"]
    assert not [each for each in kept if each["Shared"] == "false"]


def test_a_build_that_fails_starts_nothing(daemon: Clients, folder: Path) -> None:
    (folder / "app/Dockerfile").write_text("FROM busybox AS dev\nRUN exit 7\n")
    done = daemon.compose(
        "up", "-d", "--build", "dev", cwd=folder, check=False, timeout_s=TIMEOUT_S, more=KEY
    )
    assert done.returncode and b"exit code: 7" in done.stderr
    assert started(daemon) == ""
