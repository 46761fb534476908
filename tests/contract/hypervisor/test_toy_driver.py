"""A driver from outside the project, installed as one is, found as one is, and held to what every driver owes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import toy
from hypercontainer.hypervisor.kinds import Host, make_all
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from soak import rounds
from toy import ToyHarness

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with toy.installed(tmp_path_factory.mktemp("toy")):
        yield


@pytest.mark.parametrize("case", cases(), ids=str)
def test_contract(case: Case, tmp_path: Path) -> None:
    """In the short form one case in six: they are QEMU's guests, as its own driver's are."""
    if case.name.startswith("extents_are_one_disk"):
        pytest.skip("toy has no disks of several files")
    if case.name == "a_guest_does_not_reach_the_hosts_loopback":
        pytest.skip("toy's NAT is QEMU's own, whose gateway is the host's loopback address")
    if sum(case.name.encode()) % 6 and not rounds(short=0, soak=1):
        pytest.skip("make soak tries all")
    run(case, ToyHarness, tmp_path)


def test_its_table_is_read(tmp_path: Path) -> None:
    host, tables = Host(tmp_path, tmp_path), {"other": {"driver": "toy", "program": "/opt/qemu"}}
    found: dict[str, Any] = {driver.name: driver for driver in make_all(tables, host, frozenset())}
    assert found["other"].program == "/opt/qemu"
    assert found["toy"].program == "qemu-system-x86_64"
