"""The contract's cases that need a guest, on the hardware that VirtualBox gives a machine (``hardware_driver``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware_driver import HardwareHarness
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from soak import rounds

pytestmark = pytest.mark.vm
GUESTS = [case for case in cases() if {"linux", "letters"} & set(case.needs)]


@pytest.mark.parametrize("case", GUESTS, ids=str)
def test_contract(case: Case, tmp_path: Path) -> None:
    """In the short form one case in eight: each boots by a BIOS, of a disc, a kernel that unpacks itself."""
    if case.name == "a_file_with_any_name_is_a_disk":
        pytest.skip(
            "VirtualBox's descriptors of disks have no name with a quotation mark: its driver refuses it"
        )
    if case.name == "a_guest_does_not_reach_the_hosts_loopback":
        pytest.skip("the NAT is QEMU's own here, whose gateway is the host's loopback address")
    if sum(case.name.encode()) % 8 and not rounds(short=0, soak=1):
        pytest.skip("make soak tries all")
    run(case, HardwareHarness, tmp_path, timeout_s=300)
