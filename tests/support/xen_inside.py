"""What the driver of Xen does with real domains: pytest runs this file inside a dom0 (tests/vm/test_xen.py)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.agent.session import Agent
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, LaunchError
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, VMSpec
from hypercontainer.hypervisor.xen.config import Mode, domain_name, xl_config
from hypercontainer.hypervisor.xen.driver import XenDriver
from nics import nat_nic
from xen_harness import HANDED, MODE, left, said

KILLS = int(os.environ.get("XEN_KILLS", "2"))
SEED = int(os.environ.get("XEN_SEED", "16"))
BOOT_S = 120.0
RUN = Path("/run/xen-tests")
ARGUMENTS = ("console=hvc0", "quiet", "panic=-1", "hyper.port=serial:/dev/hvc1")
Case = Callable[[XenDriver], Awaitable[None]]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before


def everything() -> dict[str, list[str]]:
    return {**left(), "runs": sorted(path.name for path in RUN.iterdir()) if RUN.exists() else []}


def run(case: Case) -> None:
    async def main() -> None:
        async with asyncio.timeout(400):
            await case(another())

    asyncio.run(main())


def another() -> XenDriver:
    return XenDriver("xen", Path("/run/xen-facts.json"), MODE)


def spec(name: str, tmp_path: Path, **changes: Any) -> VMSpec:
    for number in (1, 2, 3):
        (tmp_path / f"d{number}").write_bytes(f"disk {number}".encode().ljust(1 << 20, b"."))
    base = VMSpec(
        id=name,
        name=name,
        run_dir=RUN / name,
        kernel=HANDED / "vmlinux",
        initrd=HANDED / "initrd",
        kernel_args=ARGUMENTS,
        memory_mib=160,
        vcpus=1,
        accelerator=Accelerator.OWN,
        disks=(
            DiskSpec("image", ((tmp_path / "d1", 1 << 20), (tmp_path / "d2", 1 << 19)), read_only=True),
            DiskSpec("disk", ((tmp_path / "d3", 1 << 20),), read_only=False),
        ),
        limits=another().limits(160, 1.0, Accelerator.OWN),
    )
    return replace(base, **changes)


@asynccontextmanager
async def agent(vm: VM, *, resumed: bool) -> AsyncIterator[Agent]:
    reader, writer = await vm.connect_agent()
    with closing(Agent.open(reader, writer, resumed=resumed, on_event=lambda event: None)) as session:
        await session.welcome(BOOT_S)
        yield session


def forked(case: Case) -> int:
    """The number of a process of its own that runs it, as the hyperd that is to be killed; it ends with 1."""
    child = os.fork()
    if child:
        return child
    try:
        run(case)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def test_a_life(tmp_path: Path) -> None:
    """With two ends of the process that has it: one by SIGKILL, one in order."""

    async def first(driver: XenDriver) -> None:
        begin = time.monotonic()
        vm = await driver.launch(spec("life", tmp_path, nics=(nat_nic(PortMapping(80, 8099, "127.0.0.1")),)))
        launched = time.monotonic() - begin
        async with agent(vm, resumed=False) as session:
            print(f"launch {launched:.1f} s, agent {time.monotonic() - begin:.1f} s", flush=True)
            await session.ping()
            assert not await vm.paused()
            await vm.pause()
            assert await vm.paused()
            await vm.resume()
            await session.ping(timeout_s=60)
            stats = await vm.stats()
            assert stats.cpu_ns > 0
            assert stats.rss_bytes >= 100 << 20
            os.kill(os.getpid(), signal.SIGKILL)

    async def second(driver: XenDriver) -> None:
        record = read_record(RUN / "life")
        assert record is not None
        vm = await driver.adopt(record)
        assert vm is not None
        async with agent(vm, resumed=True) as session:
            await session.ping()
        await vm.close()
        vm = await another().adopt(record)
        assert vm is not None
        async with agent(vm, resumed=True) as session:
            await session.shutdown()
            ended = await vm.wait()
        assert ended.reason is ExitReason.GUEST_SHUTDOWN, ended
        assert await another().adopt(record) is None

    _, status = os.waitpid(forked(first), 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    run(second)


def test_starts_that_fail(tmp_path: Path) -> None:
    async def case(driver: XenDriver) -> None:
        nonsense = tmp_path / "nonsense"
        nonsense.write_bytes(b"no kernel" * 1000)
        with pytest.raises(LaunchError, match="did not start"):
            await driver.launch(spec("bad", tmp_path, kernel=nonsense))
        with pytest.raises(LaunchError, match="memory"):
            await driver.launch(spec("big", tmp_path, memory_mib=8000))
        await foreign(driver, tmp_path)

    run(case)


async def foreign(driver: XenDriver, tmp_path: Path) -> None:
    """A domain with the name that ours would have."""
    one = spec("clash", tmp_path, disks=())
    config = tmp_path / "foreign.cfg"
    config.write_text(xl_config(one, "0f5b2c34-6a7d-4e8f-9012-3456789abcde", Mode.PV))
    said("xl", "create", "-p", "-e", "-q", str(config))
    try:
        with pytest.raises(Conflict, match=domain_name(one)):
            await driver.launch(one)
        assert domain_name(one) in said("xl", "list")
    finally:
        said("xl", "destroy", domain_name(one))


def test_a_domain_that_somebody_destroys(tmp_path: Path) -> None:
    async def case(driver: XenDriver) -> None:
        vm = await driver.launch(spec("lost", tmp_path))
        said("xl", "destroy", domain_name(spec("lost", tmp_path)))
        ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH
        assert "somebody else" in ended.stderr

    run(case)


async def goes_on(driver: XenDriver, name: str) -> bool:
    """Whether the VM that a killed hyperd has left is one that runs; it is ended, and then nothing of it is left."""
    record = read_record(RUN / name)
    if record is None:
        if (RUN / name).exists():
            (RUN / name).rmdir()  # in which nothing was yet
        return False
    vm = await driver.adopt(record)
    if vm is not None:
        async with agent(vm, resumed=True):
            pass
        await vm.kill()
    return vm is not None


def seconds_of_a_launch(tmp_path: Path) -> float:
    taken = 0.0

    async def case(driver: XenDriver) -> None:
        nonlocal taken
        begin = time.monotonic()
        vm = await driver.launch(spec("first", tmp_path, nics=(nat_nic(),)))
        taken = time.monotonic() - begin
        await vm.kill()

    run(case)
    return taken


def test_killed_daemons(tmp_path: Path) -> None:
    """Whenever a hyperd is killed: a VM that runs is adopted, and of one that does not there is nothing left."""
    chance = random.Random(SEED)
    before = everything()
    span = 1.5 * seconds_of_a_launch(tmp_path)
    kept: list[bool] = []
    for number in range(KILLS):
        name = f"k{number}"

        async def begun(driver: XenDriver, name: str = name) -> None:
            await driver.launch(spec(name, tmp_path, nics=(nat_nic(),)))
            await asyncio.sleep(1000)

        async def case(driver: XenDriver, name: str = name) -> None:
            kept.append(await goes_on(driver, name))

        child = forked(begun)
        moment = chance.uniform(0, span)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        run(case)
        print(f"{name} after {moment:.1f} s: {'went on' if kept[-1] else 'was gone'}", flush=True)
        assert everything() == before
    print(f"{KILLS} killed, {sum(kept)} VMs went on; a launch takes {span / 1.5:.1f} s")
