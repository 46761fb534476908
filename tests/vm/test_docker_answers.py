"""Every call of Docker's API at every version, on a real hyperd with guests: each answer is what the description of its
version says.  `tests/compat` walks the same way on a real dockerd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
import docker_schema
import docker_walk
from hyper import NO_POOL
from hyper import hyper as hyper_context
from soak import rounds
from uml_kernel import uml_kernel

# Those that show what others do not; all of it on all of them in `make soak`.
LOOKED_AT = ("1.40", "1.43", "1.44", "1.47", "1.48", "1.51")
WHOLE = ("1.41", "1.52") if rounds(short=1, soak=0) else tuple(f"1.{minor}" for minor in range(40, 53))
NAME, NETWORK, VOLUME = "seen", "seennet", "seenvol"
HEALTH = {"Test": ["CMD", "true"], "Interval": 1_000_000_000}


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    uml_kernel()
    with hyper_context(NO_POOL, hypervisor="uml") as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made.run_dir / "docker.sock"


@pytest.fixture(scope="module")
def seen(socket: Path) -> Iterator[Path]:
    """With a container that has all that can be shown."""
    walker = docker_walk.Walker(
        socket, "1.52", create={"Binds": [f"{VOLUME}:/v"], "PortBindings": {"80/tcp": [{}]}}
    )
    walker.makes_places(NETWORK, VOLUME)
    walker.runs(NAME, Healthcheck=HEALTH, ExposedPorts={"80/tcp": {}}, Labels={"a": "b"})
    walker.call("POST", f"/networks/{NETWORK}/connect", {"Container": NAME})
    assert not walker.refused
    yield socket
    walker.removes(NAME)
    walker.removes_places(NETWORK, VOLUME)
    assert not walker.refused


@pytest.mark.parametrize("version", LOOKED_AT)
def test_what_is_looked_at(seen: Path, version: str) -> None:
    with docker_schema.validating(seen) as checked:
        walker = docker_walk.Walker(checked.socket, version)
        docker_walk.looks(walker)
        walker.looks_at_places(NETWORK, VOLUME)
        walker.looks_at_container(NAME)
    assert not walker.refused


@pytest.mark.parametrize("version", WHOLE)
def test_all_of_it(socket: Path, version: str) -> None:
    with docker_schema.validating(socket) as checked:
        walker = docker_walk.Walker(checked.socket, version, create={"NetworkMode": "default"})
        docker_walk.whole(walker, builds=False)  # which test_docker_build has a builder for
    assert not walker.refused


def test_what_has_no_version_is_of_the_newest(seen: Path) -> None:
    with docker_schema.validating(seen) as checked:
        docker_walk.Walker(checked.socket, "").call("GET", f"/containers/{NAME}/json")
    assert checked.seen == [((1, 52), "GET", "/containers/{id}/json", 200)]
