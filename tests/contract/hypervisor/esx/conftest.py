"""The simulators, and the proof that a test leaves nothing behind in this process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")

from esx_world import Test, World
from simulated_vsphere import Simulator
from soak import rounds

KINDS = ("vpx", "esx")


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Simulator]]:
    """One of each kind, for all who only use it."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def made(kind: str) -> Simulator:
            simulator = Simulator(tmp_path_factory.mktemp(kind), kind)
            stack.callback(simulator.stop)
            return simulator

        def of(kind: str) -> Simulator:
            simulator = made(kind)
            simulator.check()
            return simulator

        yield of


@pytest.fixture(params=KINDS[: rounds(short=1, soak=2)])
def own_simulator(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Simulator]:
    """One that may come to harm."""
    simulator = Simulator(tmp_path, request.param)
    yield simulator
    simulator.stop()


@contextlib.contextmanager
def running(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[[Test], None]]:
    """Ends what it has begun, and proves that this process has nothing of it any more."""
    before = len(os.listdir("/proc/self/fd"))

    async def main(test: Test) -> None:
        world = await asyncio.to_thread(World, simulator, tmp_path)
        try:
            async with asyncio.timeout(rounds(short=60, soak=1800)):
                await test(world)
        finally:
            world.other.close()
            for driver in world.drivers:
                await driver.close()

    yield lambda test: asyncio.run(main(test))
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not [each for each in threading.enumerate() if each.name.startswith("esx")]


@pytest.fixture(params=KINDS[: rounds(short=1, soak=2)])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, simulators: Callable[[str], Simulator]
) -> Iterator[Callable[[Test], None]]:
    with running(simulators(request.param), tmp_path) as one:
        yield one


@pytest.fixture(params=KINDS)
def run_each(
    request: pytest.FixtureRequest, tmp_path: Path, simulators: Callable[[str], Simulator]
) -> Iterator[Callable[[Test], None]]:
    """For what differs between a vCenter and a host; the rest is on both in `make soak`."""
    with running(simulators(request.param), tmp_path) as one:
        yield one


@pytest.fixture
def run_vcenter(tmp_path: Path, simulators: Callable[[str], Simulator]) -> Iterator[Callable[[Test], None]]:
    """For what is the same on a host."""
    with running(simulators("vpx"), tmp_path) as one:
        yield one


@pytest.fixture
def run_alone(own_simulator: Simulator, tmp_path: Path) -> Iterator[Callable[[Test], None]]:
    with running(own_simulator, tmp_path) as one:
        yield one
