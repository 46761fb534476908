"""Every driver of this project keeps the contract: see ``hypercontainer.suite``.

A domain of libvirt's takes a second to start and one to end: `make test` has every tenth case of it, beside what is
its own (``test_libvirt_driver``).  Of QEMU it leaves out what a Linux does in any guest, which User Mode Linux shows
in a fifth of the time.  `make soak` has all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harnesses import HARNESSES
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from soak import rounds
from uml_kernel import has_uml

OF_EACH = {"fake": 1, "qemu": 1, "uml": 1, "libvirt": rounds(short=10, soak=1)}
# Needs of cases whose Linux has to do with what the driver itself does.
OF_DRIVERS = frozenset({"nat", "tap", "plugs", "grows", "drives", "pauses", "shares"})


def is_for_soak(case: Case, driver: str) -> bool:
    alike = "linux" in case.needs and not OF_DRIVERS & {*case.needs}
    return driver == "qemu" and alike and bool(rounds(short=1, soak=0)) and has_uml()


DRIVEN = [
    pytest.param(case, driver, id=f"{case}-{driver}", marks=[pytest.mark.vm] if driver != "fake" else [])
    for driver, step in OF_EACH.items()
    for case in cases()[::step]
    if not is_for_soak(case, driver)
]


@pytest.mark.parametrize(("case", "driver"), DRIVEN)
def test_contract(case: Case, driver: str, tmp_path: Path) -> None:
    run(case, HARNESSES[driver], tmp_path)
