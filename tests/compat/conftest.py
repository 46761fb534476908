"""One dockerd and one hyperd with one image, for all that is compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
import dockerd
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from pair import Pair
from uml_kernel import has_uml


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)


@pytest.fixture(scope="session")
def docker() -> Iterator[dockerd.Docker]:
    try:
        with dockerd.dockerd() as made:
            loaded = made("load", stdin=busybox_image.archive([busybox_image.layer()]))
            assert loaded.returncode == 0, loaded.stderr
            yield made
    except dockerd.Absent as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="session")
def compared() -> Iterator[Hyper]:
    with hyper_context(NO_POOL, hypervisor="uml" if has_uml() else "qemu") as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


@pytest.fixture(scope="module")
def both(docker: dockerd.Docker, compared: Hyper) -> Iterator[Pair]:
    """With busybox alone; what else a module brings may stay for its tests."""
    made = Pair(docker, compared)
    yield made
    made.clear_images(busybox_image.REFERENCE)


@pytest.fixture
def pair(both: Pair) -> Iterator[Pair]:
    """Both, without containers and volumes."""
    yield both
    both.clear()
