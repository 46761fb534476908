"""A hyperd that is killed at any moment loses no VM of any driver, and leaves nothing of those that are not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import toy
import virtualbox_bed
import vmm_machine
from harnesses import COUNT, HARNESSES
from hypercontainer.suite.harness import HALT
from hypercontainer.suite.running import nothing_left
from killed import Act, Kills, Kind, counts, echoes, runs
from soak import rounds
from virtualbox_harness import VirtualBoxHarness

pytestmark = pytest.mark.vm

# By what a guest of each answers.
ANSWERS: dict[str, tuple[str, Act]] = {
    "libvirt": (COUNT, counts),
    "cloud-hypervisor": (HALT, echoes),
    "firecracker": (HALT, echoes),
    "esx": (HALT, runs),
    "virtualbox": (HALT, echoes),
    "toy": (COUNT, counts),
}
# Of VirtualBox each VM takes seconds; the toy is a QEMU, of which tests/vm has the same with hyperd itself, as of User
# Mode Linux.
LONG = ("virtualbox", "toy")
SEED = 16


@contextlib.contextmanager
def having(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Kind]:
    with ExitStack() as stack:
        kind: Any = HARNESSES.get(name) or vmm_machine.HARNESSES.get(name)
        if name in vmm_machine.HARNESSES:
            vmm_machine.acting(patch, folder)
        elif name == "virtualbox":
            kind = partial(VirtualBoxHarness, stack.enter_context(virtualbox_bed.standing(folder / "vb")))
        elif name == "toy":
            kind = stack.enter_context(toy.installed(folder))
        elif name == "esx":
            pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")
            from esx_harness import EsxHarness
            from simulated_vsphere import Simulator

            simulator = Simulator(folder)
            stack.callback(simulator.stop)
            kind = partial(EsxHarness, simulator, keeps_images=True)
        yield kind


@pytest.mark.timeout(rounds(short=300, soak=7000))
@pytest.mark.parametrize("name", [name for name in ANSWERS if name not in LONG or rounds(short=0, soak=1)])
def test_killed_at_any_moment(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with having(name, tmp_path_factory.mktemp("bed"), monkeypatch) as kind, nothing_left(tmp_path):
        kills = Kills(kind, tmp_path, SEED, *ANSWERS[name])
        kills.again(rounds(short=3, soak=51), timeout_s=rounds(short=120, soak=300))
    print(f"{name}: {dict(kills.seen)}")
    assert kills.seen["went on"], "there was none to be lost"
