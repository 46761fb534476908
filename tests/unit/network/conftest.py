"""A private host and networks on it, of which nothing may be left on the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.network.fabric import NamespaceFabric as Fabric
from pod_by_hand import INTERNAL, A, B, Plug, networks, plugging
from private_host import PrivateHost, private_host


@pytest.fixture(scope="module")
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces")


@pytest.fixture
def host(as_root: None, tmp_path: Path) -> Iterator[PrivateHost]:
    with private_host(tmp_path) as made:
        yield made


@pytest.fixture
def fabric(host: PrivateHost, tmp_path: Path) -> Iterator[Fabric]:
    with networks(tmp_path / "fabric", A, B, INTERNAL) as made:
        yield made


@pytest.fixture
def plug(fabric: Fabric) -> Iterator[Plug]:
    with plugging(fabric) as made:
        yield made
