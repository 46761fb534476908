"""What real dockerds answer is what the description says: which so is true, when it is held against hyperd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import busybox_image
import docker_schema
import docker_walk
import dockerd
from hypercontainer.surfaces.docker.openapi.notation import version

OLD, NEW = "1.41", "1.51"  # of dockerd 20.10 and 28.5
# Of dockerd 28.5: it leaves null what its own list has as an empty one.
NULL = 'GET /system/df 200: at /Images/*/RepoDigests: null is not of type "array"'


@pytest.fixture(scope="module")
def newest() -> Iterator[dockerd.Docker]:
    try:
        with dockerd.dockerd(newest=True) as made:
            assert made("load", stdin=busybox_image.archive([busybox_image.layer()])).returncode == 0
            yield made
    except dockerd.Absent as absent:
        pytest.skip(str(absent))


def _walked(docker: dockerd.Docker, asked: str, own: str) -> tuple[docker_walk.Walker, list[str]]:
    """Of a version before its own a dockerd has fields that came later, which it does not hide."""
    socket = docker.client[docker.client.index("-H") + 1].removeprefix("unix://")
    checked: docker_schema.Checked | None = None
    try:
        with docker_schema.validating(socket, newest=version(own), newer=asked not in ("", own)) as checked:
            walker = docker_walk.Walker(checked.socket, asked, create={"CgroupParent": docker.options[1]})
            docker_walk.whole(walker)
    except docker_schema.Violations:
        pass
    assert checked is not None
    assert len(checked.seen) > 90
    return walker, checked.violations


@pytest.mark.parametrize("asked", ["1.40", ""])
def test_dockerd(docker: dockerd.Docker, asked: str) -> None:
    walker, wrong = _walked(docker, asked, OLD)
    assert not wrong
    assert {words.partition("?")[0].partition(": ")[0] for words in walker.refused} <= {
        # 500 for what cannot be read, 400 for want of credentials
        walker.said("POST", "/containers/create"),
        walker.said("POST", f"/images/{docker_walk.ELSEWHERE}/push"),
        walker.said("GET", "/containers/json"),
    }


@pytest.mark.parametrize("asked", ["1.44", ""])
def test_newest_dockerd(newest: dockerd.Docker, asked: str) -> None:
    walker, wrong = _walked(newest, asked, NEW)
    assert [words for words in wrong if NULL not in words] == []
    assert not walker.refused
