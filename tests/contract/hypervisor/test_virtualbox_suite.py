"""The drivers' contract on the real VirtualBox; see ``test_virtualbox_driver``.  Each VM takes seconds there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import virtualbox_bed
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.running import run
from soak import rounds
from virtualbox_bed import VirtualBoxBed
from virtualbox_harness import VirtualBoxHarness

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(
        not rounds(short=0, soak=1), reason="only in make soak: minutes of VirtualBox's windows"
    ),
]
CASE_S = 300.0


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoxBed]:
    with virtualbox_bed.standing(tmp_path_factory.mktemp("vb")) as one:
        yield one


@pytest.mark.parametrize("case", cases(), ids=str)
def test_contract(case: Case, bed: VirtualBoxBed, tmp_path: Path) -> None:
    run(case, partial(VirtualBoxHarness, bed), tmp_path, timeout_s=CASE_S)
