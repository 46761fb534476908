"""Every driver of this project keeps the contract: see ``hypercontainer.suite``.

A domain of libvirt's takes a second to start and one to end: `make test` has every tenth case of it, beside what is
its own (``test_libvirt_driver``), and `make soak` all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harnesses import HARNESSES
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from soak import rounds

OF_EACH = {"fake": 1, "qemu": 1, "uml": 1, "libvirt": rounds(short=10, soak=1)}
DRIVEN = [
    pytest.param(case, driver, id=f"{case}-{driver}", marks=[pytest.mark.vm] if driver != "fake" else [])
    for driver, step in OF_EACH.items()
    for case in cases()[::step]
]


@pytest.mark.parametrize(("case", "driver"), DRIVEN)
def test_contract(case: Case, driver: str, tmp_path: Path) -> None:
    run(case, HARNESSES[driver], tmp_path)
