"""Every driver of this project keeps the contract: see ``hypercontainer.suite``."""

from __future__ import annotations

from pathlib import Path

import pytest

from harnesses import HARNESSES
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run

DRIVERS = [pytest.param("fake"), *(pytest.param(name, marks=pytest.mark.vm) for name in ("qemu", "uml"))]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_contract(case: Case, driver: str, tmp_path: Path) -> None:
    run(case, HARNESSES[driver], tmp_path)
