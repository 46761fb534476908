"""A hyperd that is killed at any moment loses no VM, and leaves nothing that a later one does not find."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from esx_world import Test, World
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.esx import journal
from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.run_dir import read_record
from soak import rounds

# Two launches and an end take about so long.
SPAN_S = 1.2


async def killed(world: World, seed: str, after_s: float) -> tuple[set[str], set[str]]:
    """Names that were launched for certain, and those that were being ended."""
    settings = world.folder / "settings.json"
    settings.write_text(json.dumps(world.simulator.settings))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "esx_killed", str(settings), str(world.folder), seed),
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # the tests' own
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begins\n"
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), after_s)
    assert process.returncode is None, "it ended by itself"
    process.kill()
    said = (await process.stdout.read()).decode().splitlines()
    await process.wait()
    words = [line.split() for line in said]
    return (
        {name for what, name in words if what == "launched"},
        {name for what, name in words if what == "ends"},
    )


async def taken_up(driver: EsxDriver, runs: Path) -> dict[str, VM]:
    """As an engine does: what has a record is adopted, and what has none was never there."""
    found = {}
    for path in sorted(runs.glob("*")):
        record = read_record(path)
        if record is None:
            for each in path.iterdir():
                each.unlink()
            path.rmdir()
        elif (vm := await driver.adopt(record)) is not None:
            found[record.id] = vm
    return found


def test_killed_at_any_moment(run_vcenter: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(16)

    async def test(world: World) -> None:
        for number in range(rounds(short=4, soak=50)):
            launched, ending = await killed(world, f"{number}", rng.random() * SPAN_S)
            driver = world.another_driver()
            found = await taken_up(driver, world.folder / "run")
            assert launched - ending <= found.keys(), "a VM is lost"
            for vm in found.values():
                await vm.kill()
            probe = await driver.launch(world.spec())  # which sweeps what nobody has a record of
            await probe.kill()
            left = [name for name in world.ours() if not name.startswith("hyper-image-")]
            assert not left, left
            for disk in world.folder.glob("disk-*"):
                assert disk.read_bytes().startswith(b"written"), disk
            await driver.close()
        # What was asked for and never came is written down until it cannot come any more.
        monkeypatch.setattr(journal, "LATE_S", -1.0)
        await (await world.driver.launch(world.spec())).kill()
        world.nothing_left(images=len(world.ours()))

    run_vcenter(test)
