"""The suite of drivers on Xen: pytest runs this file inside a dom0 (tests/vm/test_xen.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypercontainer.suite.case import cases
from hypercontainer.suite.running import run
from xen_harness import XenHarness

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "linux" not in case.needs])
def test_plain(name: str, tmp_path: Path) -> None:
    run(CASES[name], XenHarness, tmp_path)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "linux" in case.needs])
def test_linux(name: str, tmp_path: Path) -> None:
    run(CASES[name], XenHarness, tmp_path)
