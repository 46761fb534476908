"""The driver of vSphere keeps the contract, as far as a server without guests can tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from esx_harness import EsxHarness
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from simulated_vsphere import Simulator

# What needs a guest, or a process of this machine.
OTHERS = {"linux", "letters", "process", "keeps", "locks"}


@pytest.mark.parametrize("case", [case for case in cases() if not OTHERS & set(case.needs)], ids=str)
def test_contract(case: Case, simulators: Callable[[str], Simulator], tmp_path: Path) -> None:
    simulator = simulators("vpx")
    run(case, lambda folder, stack: EsxHarness(simulator, folder, stack), tmp_path)
