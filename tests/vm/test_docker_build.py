"""Images from Dockerfiles by Docker's own clients: buildx over BuildKit's protocol, and the build of one request."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import docker as docker_py
import pytest

import busybox_image
import real_images
from answering import Answering
from docker_clients import Absent, Clients
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context

BUSYBOX = busybox_image.REFERENCE
CONFIG = NO_POOL + '[build]\nimage = "localhost/builder"\nmemory = "1g"\n'
NO_IDENTITIES = b"\0\0\0\x05\x0c\0\0\0\0"  # what an agent answers that has none
AGENT_C = Path(__file__).parents[1] / "support/ask_agent.c"
TIMEOUT_S = 300.0


class Stage:
    def __init__(self, hyper: Hyper, folder: Path) -> None:
        self.hyper = hyper
        self.clients = Clients(hyper.run_dir / "docker.sock", folder)
        try:
            self.clients.environment  # noqa: B018
        except Absent as absent:
            pytest.skip(str(absent))

    def build(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return self.clients.docker("build", *words, timeout_s=TIMEOUT_S, **more)

    def image(self, *words: str, **more: Any) -> str:
        """Built without a word; its ID, which hyperd knows."""
        said = self.build("-q", *words, **more).stdout.decode().strip()
        assert self.hyper.json("inspect", said)[0]["Id"] == said
        return said


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with hyper_context(CONFIG, hypervisor="uml") as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        made.load(real_images.path("builder"))
        yield Stage(made, tmp_path_factory.mktemp("clients"))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("from the context\n")
    return tmp_path


EVERYTHING = f"""
ARG BASE={BUSYBOX}
FROM $BASE AS made
ARG WHAT=nothing
COPY <<EOT /script
echo $WHAT
EOT
COPY ask /
RUN --mount=type=cache,target=/cache --mount=type=secret,id=key --mount=type=ssh <<EOT
    sh /script > /made
    wc -c < /run/secrets/key >> /made
    /ask >> /made
EOT
FROM $BASE
COPY --from=made /made /
COPY file /own
CMD ["cat", "/made", "/own"]
"""


def test_buildx(stage: Stage, context: Path) -> None:
    subprocess.run(["musl-gcc", "-static", "-o", context / "ask", AGENT_C], check=True)
    (context / "Dockerfile").write_text(EVERYTHING)
    (context / "secret").write_text("s3cr3t")
    agent = Answering(context / "agent", lambda _: NO_IDENTITIES)
    words = ("--secret", f"id=key,src={context}/secret", "--ssh", f"default={context}/agent")
    try:
        made = stage.image(
            *("-t", "shop", "-t", "localhost/shop:2", "--build-arg", "WHAT=this", *words),
            *("--iidfile", f"{context}/iid", "--metadata-file", f"{context}/facts", str(context)),
        )
    finally:
        agent.close()
    assert (context / "iid").read_text() == made
    facts = json.loads((context / "facts").read_text())
    assert facts["containerimage.digest"] == facts["containerimage.config.digest"] == made
    assert facts["image.name"] == "docker.io/library/shop:latest,localhost/shop:2"
    assert stage.hyper.out("run", "--rm", "localhost/shop:2") == "this\n6\n12\nfrom the context"

    # Of an image that is only here, in whatever state it is here: and a directory is one's own.
    (context / "Dockerfile").write_text("FROM shop\nRUN cat /made > /again\n")
    stage.build("-o", f"{context}/out", str(context))
    assert (context / "out/again").read_text() == "this\n6\n12\n"
    stage.hyper("tag", BUSYBOX, "shop")
    gone = stage.build("-o", f"{context}/out2", str(context), check=False)
    assert gone.returncode and b"can't open '/made'" in gone.stderr and b"exit code: 1" in gone.stderr


PROJECT = """
name: shop
services:
  web:
    build:
      context: .
      target: dev
      args: {WHO: compose}
      secrets: [key]
      additional_contexts: {more: ./more}
    image: shop:compose
    init: true
secrets: {key: {file: ./key}}
"""
STAGES = f"""
FROM {BUSYBOX} AS base
ARG WHO=nobody
RUN --mount=type=secret,id=key echo "for $WHO by $(cat /run/secrets/key)" > /who
FROM base AS dev
COPY --from=more extra /extra
CMD ["sh", "-c", "cat /who /extra; exec sleep 600"]
FROM base
RUN exit 1
"""


def test_compose_builds_what_it_starts(stage: Stage, context: Path) -> None:
    (context / "more").mkdir()
    files = {"more/extra": "extra\n", "key": "s3cr3t", "Dockerfile": STAGES, "compose.yaml": PROJECT}
    for name, text in files.items():
        (context / name).write_text(text)
    compose = partial(stage.clients.compose, cwd=context, timeout_s=TIMEOUT_S)
    done = compose("up", "-d", "--build")
    said = (done.stdout + done.stderr).decode()
    assert "naming to docker.io/library/shop:compose" in said and "hyper.build" not in said
    assert compose("logs", "--no-log-prefix", "web").stdout == b"for compose by s3cr3t\nextra\n"
    compose("down", "-t", "1")
    cached = json.loads(stage.clients.out("system", "df", "-v", "--format", "json"))["BuildCache"]
    assert len(cached) > 3 and any(each["CacheType"] == "regular" for each in cached)


def test_an_image_with_attestations_and_one_that_is_missing(stage: Stage, context: Path) -> None:
    (context / "Dockerfile").write_text(f"FROM {BUSYBOX}\nCOPY file /\n")
    plain = stage.image(str(context))
    assert stage.image("--provenance=mode=max", "-t", "attested", str(context)) == plain
    (context / "Dockerfile").write_text("FROM localhost:1/nothing\n")
    missing = stage.build(str(context), check=False)
    assert missing.returncode and b"localhost:1/nothing" in missing.stderr


def test_the_build_of_one_request(stage: Stage, context: Path) -> None:
    (context / "other").write_text(f"FROM {BUSYBOX}\nARG WHAT\nRUN echo $WHAT\nCOPY file /\n")
    classic = Clients(stage.clients.socket, stage.clients.folder, more={"DOCKER_BUILDKIT": "0"})
    words = ("-t", "classic:1", "--build-arg", "WHAT=this", "-f", f"{context}/other", str(context))
    said = classic.docker("build", *words, timeout_s=TIMEOUT_S).stdout.decode()
    assert "Step 2/3 : RUN echo this\nthis\n" in said
    assert said.endswith("Successfully tagged classic:1\n")
    (context / "other").write_text(f"FROM {BUSYBOX}\nRUN exit 9\n")
    failed = classic.docker("build", "-f", f"{context}/other", str(context), check=False, timeout_s=TIMEOUT_S)
    assert failed.returncode == 9
    assert b"The command '/bin/sh -c exit 9' returned a non-zero code: 9" in failed.stderr


def test_a_build_is_cancelled_by_its_clients_name(stage: Stage) -> None:
    client = docker_py.APIClient(base_url=stage.clients.host, timeout=int(TIMEOUT_S), version="1.45")
    client.params = {"buildid": "mine"}
    other = docker_py.APIClient(base_url=stage.clients.host, version="1.45")
    try:
        text = f"FROM {BUSYBOX}\nRUN echo begun; sleep 600\n"
        said = client.build(fileobj=io.BytesIO(text.encode()), decode=True)
        assert any(each.get("stream") == "begun\n" for each in said)
        for name in ("another", "mine"):
            assert other.post(f"{other.base_url}/build/cancel", params={"id": name}).status_code == 200
        assert "cancel" in [*said][-1]["error"]
    finally:
        client.close()
        other.close()


def test_docker_py(stage: Stage) -> None:
    client = docker_py.DockerClient(base_url=stage.clients.host, timeout=int(TIMEOUT_S), version="1.45")
    try:
        text = f"FROM {BUSYBOX}\nLABEL a=b\nRUN echo word\n"
        image, said = client.images.build(fileobj=io.BytesIO(text.encode()), tag="by/py:1", rm=True)
        assert image.tags == ["by/py:1"] and image.labels == {"a": "b"}
        assert {"stream": "word\n"} in list(said)
        with pytest.raises(docker_py.errors.BuildError, match="returned a non-zero code: 3"):
            client.images.build(fileobj=io.BytesIO(f"FROM {BUSYBOX}\nRUN exit 3\n".encode()))
        pruned = client.api.prune_builds(all=True)
        assert pruned["CachesDeleted"] and pruned["SpaceReclaimed"] > 0
    finally:
        client.close()
