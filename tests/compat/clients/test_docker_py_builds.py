"""docker-py's builds, and what prunes their images."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from docker_clients import Clients
from docker_sdk import BUSYBOX, clear, sdk_of, tar_of
from soak import rounds

Sdk = Any
pytestmark = pytest.mark.skipif(not rounds(short=0, soak=1), reason="builds: make soak has them")


@pytest.fixture(params=["builder", "dockerd"])
def sdk(request: pytest.FixtureRequest, daemons: Callable[[str], Clients]) -> Iterator[Sdk]:
    with sdk_of(daemons(request.param)) as made:
        yield made
        clear(made)


def built(sdk: Sdk, tmp_path: Path, lines: str, **more: Any) -> tuple[Any, str]:
    (tmp_path / "Dockerfile").write_text(lines)
    image, log = sdk.images.build(path=str(tmp_path), rm=True, **more)
    return image, "".join(each.get("stream", "") for each in log)


def test_build(sdk: Sdk, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("of the context\n")
    (tmp_path / "left-out").write_text("x")
    (tmp_path / ".dockerignore").write_text("left-*\n")
    lines = (
        f"FROM {BUSYBOX} AS first\nARG WHICH=none\nRUN echo $WHICH > /which\nCOPY . /ctx/\n"
        'LABEL in=file\nFROM first\nCMD ["cat", "/which", "/ctx/given"]\n'
    )
    image, log = built(
        sdk, tmp_path, lines, tag="built:1", buildargs={"WHICH": "this"}, labels={"by": "call"}, nocache=True
    )
    assert image.tags == ["built:1"]
    assert "Successfully built" in log
    assert image.labels["in"] == "file" and image.labels["by"] == "call"
    assert sdk.containers.run("built:1", remove=True) == b"this\nof the context\n"
    assert b"left-out" not in sdk.containers.run("built:1", "ls /ctx", remove=True)
    first, _ = built(sdk, tmp_path, lines, target="first")
    assert first.attrs["Config"]["Cmd"] == ["sh"]


def test_build_that_fails(sdk: Sdk, tmp_path: Path) -> None:
    with pytest.raises(docker.errors.BuildError) as raised:
        built(sdk, tmp_path, f"FROM {BUSYBOX}\nRUN echo seen; exit 3\n")
    assert "returned a non-zero code: 3" in raised.value.msg
    assert any("seen" in each.get("stream", "") for each in raised.value.build_log)
    with pytest.raises(
        (docker.errors.BuildError, docker.errors.APIError), match=r"(?i)unknown instruction: NONSENSE"
    ):
        sdk.images.build(fileobj=io.BytesIO(b"NONSENSE here\n"))


def test_build_of_a_file_and_of_an_archive(sdk: Sdk) -> None:
    lines = f"FROM {BUSYBOX}\nENV A=b\n".encode()
    image, _ = sdk.images.build(fileobj=io.BytesIO(lines))
    assert "A=b" in image.attrs["Config"]["Env"]
    context = gzip.compress(tar_of(other=lines))
    image, _ = sdk.images.build(
        fileobj=io.BytesIO(context), custom_context=True, encoding="gzip", dockerfile="other", quiet=False
    )
    assert "A=b" in image.attrs["Config"]["Env"]
    answer = list(sdk.api.build(fileobj=io.BytesIO(lines), tag="low:1", decode=True))
    assert any("Successfully tagged low:1" in each.get("stream", "") for each in answer)


def test_prune(sdk: Sdk, tmp_path: Path) -> None:
    old, _ = built(sdk, tmp_path, f"FROM {BUSYBOX}\nENV A=1\n", tag="pruned:1")
    built(sdk, tmp_path, f"FROM {BUSYBOX}\nENV A=2\n", tag="pruned:1")
    answer = sdk.images.prune()
    assert answer["SpaceReclaimed"] >= 0
    with pytest.raises(docker.errors.ImageNotFound):
        sdk.images.get(old.id)
    assert sdk.images.get("pruned:1")
    assert "SpaceReclaimed" in sdk.images.prune_builds()
    sdk.images.prune(filters={"dangling": False})
    with pytest.raises(docker.errors.ImageNotFound):
        sdk.images.get("pruned:1")
    # busybox too, as no container uses it: what is removed is told.
    with pytest.raises(docker.errors.ImageNotFound):
        sdk.images.get(BUSYBOX)
