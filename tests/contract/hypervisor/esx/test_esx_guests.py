"""The contract's cases that need a guest, on the hardware that a machine of ESX has (``esx_guests``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from esx_guests import EsxGuestHarness
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from simulated_vsphere import Simulator
from soak import rounds

pytestmark = pytest.mark.vm
GUESTS = [case for case in cases() if {"linux", "letters"} & set(case.needs)]


@pytest.mark.parametrize("case", GUESTS, ids=str)
def test_contract(case: Case, simulators: Callable[[str], Simulator], tmp_path: Path) -> None:
    """In the short form one case in eight: each boots by a BIOS, of a disc, a kernel that unpacks itself."""
    if case.name == "what_a_guest_uses_goes_up":
        pytest.skip("the simulator knows of no memory or processor that is used")
    if sum(case.name.encode()) % 8 and not rounds(short=0, soak=1):
        pytest.skip("make soak tries all")
    simulator = simulators("vpx")
    run(case, lambda folder, stack: EsxGuestHarness(simulator, folder, stack), tmp_path, timeout_s=300)
