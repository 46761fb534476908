"""A driver from outside the project, installed as one is, found as one is, and held to what every driver owes."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harnesses import QemuHarness
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host, make_all
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from soak import rounds

pytestmark = pytest.mark.vm
SOURCE = Path(__file__).parents[2] / "support/toy_driver"


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The distribution, in a folder where this process looks for such."""
    source, folder = tmp_path_factory.mktemp("source") / "toy", tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, source)  # who builds leaves things there
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--target", folder, source], check=True, env={"PATH": os.environ["PATH"]})
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("hyper_toy_driver", None)


class ToyHarness(QemuHarness):
    """Its guests are QEMU's, whose rights are not the driver's to take."""

    lacks = frozenset({"locks"})

    def another_driver(self) -> Driver:
        host = Host(self.folder / "facts.json", self.folder / "state")
        found = {driver.name: driver for driver in make_all({}, host, frozenset())}
        return found["toy"]


@pytest.mark.parametrize("case", cases(), ids=str)
def test_contract(case: Case, tmp_path: Path) -> None:
    """In the short form one case in six: they are QEMU's guests, as its own driver's are."""
    if case.name.startswith("extents_are_one_disk"):
        pytest.skip("toy has no disks of several files")
    if sum(case.name.encode()) % 6 and not rounds(short=0, soak=1):
        pytest.skip("make soak tries all")
    run(case, ToyHarness, tmp_path)


def test_its_table_is_read(tmp_path: Path) -> None:
    host, tables = Host(tmp_path, tmp_path), {"other": {"driver": "toy", "program": "/opt/qemu"}}
    found: dict[str, Any] = {driver.name: driver for driver in make_all(tables, host, frozenset())}
    assert found["other"]._program == "/opt/qemu"
    assert found["toy"]._program == "qemu-system-x86_64"
