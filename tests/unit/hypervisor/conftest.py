"""A running network of a NIC, and where it leads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from usernet_guest import Network, own_address, running


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with running(tmp_path) as one:
        yield one


@pytest.fixture
def own() -> str:
    """An address of this machine's that is not its loopback's."""
    if (address := own_address()) is None:
        pytest.skip("this machine has no address but its loopback's")
    return address
