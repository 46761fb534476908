"""The whole way of a VM in vSphere, but for ESX itself: the simulator, and QEMU that runs what this has."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")

from esx_hands import run_by_hand
from esx_world import World
from guest_machine import Machine, container_plan, ext4, process_plan, vm_config
from hypercontainer.agent.operations import Disk
from hypercontainer.contract.devices import VMWARE
from hypercontainer.errors import AgentError, Unavailable
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.spec import DiskSpec, VMSpec
from hypercontainer.kernel import Kernel, KernelStore, build_initrd, cache_dir, command_line
from hypercontainer.linux import tsc
from simulated_vsphere import Simulator

pytestmark = pytest.mark.vm
MEMORY_MIB = 256


@pytest.fixture
def wide_kernel() -> Kernel:
    try:
        return KernelStore(cache_dir()).having(VMWARE)
    except Unavailable as error:
        pytest.skip(str(error))


class Guest(Machine):
    def __init__(self, vm: VM, folder: Path) -> None:
        super().__init__(0, folder / "nowhere")
        self.vm = vm

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self.vm.connect_agent()


async def container_that_writes(guest: Guest) -> None:
    session = await guest.session()
    await session.agent.welcome(150)
    await session.agent.configure(vm_config())
    await session.agent.create_container(container_plan("c", upper=Disk("upper", "ext4")))
    await session.agent.start_process(process_plan("c", 1, "sleep", "1000", init=True))
    status, text = await session.run("c", "sh", "-c", "echo kept >/kept; md5sum /bin/busybox; sync")
    busybox = subprocess.run(["md5sum", "/bin/busybox"], capture_output=True, text=True, check=True).stdout
    assert (status, text.split()[0]) == (0, busybox.split()[0])


async def found_again(guest: Guest) -> None:
    session = await guest.session()
    assert (await session.agent.welcome(60)).containers == ("c",)
    assert await session.run("c", "cat", "/kept") == (0, "kept\n")
    with contextlib.suppress(AgentError):
        await session.agent.shutdown()


async def spec_of(world: World, kernel: Kernel, files: Path) -> VMSpec:
    able = await world.driver.capabilities()
    lower, upper = files / "lower.erofs", ext4(world.folder / "upper")
    usual: dict[str, Any] = {"emulated": True, "console": True, "extra": (), "tsc_khz": tsc.rate_khz()}
    return world.spec(
        disks=(
            DiskSpec("lower", ((lower, lower.stat().st_size),), read_only=True),
            DiskSpec("upper", ((upper, upper.stat().st_size),), read_only=False),
        ),
        kernel=kernel.path,
        initrd=build_initrd(files / "hyperstart", kernel, world.folder),
        kernel_args=command_line(kernel, device=able.console, line=able.line, **usual),
        memory_mib=MEMORY_MIB,
        vcpus=1,
    )


async def from_launch_to_end(world: World, kernel: Kernel, files: Path) -> None:
    vm = await world.driver.launch(await spec_of(world, kernel, files))
    machine, folder = world.machine(vm), world.folder
    try:
        async with run_by_hand(
            machine, world.simulator.datastores[0], folder / "hands", folder / "state/line.pem"
        ) as qemu:
            async with asyncio.timeout(240):
                await container_that_writes(Guest(vm, folder))
                await found_again(Guest(vm, folder))
                await qemu.wait()
    except BaseException:
        print(vm.console_tail())
        raise
    await asyncio.to_thread(world.do, lambda live: machine.ShutdownGuest())
    async with asyncio.timeout(30):
        ended = await vm.wait()
    assert ended.reason is ExitReason.GUEST_SHUTDOWN
    assert "panic" not in ended.console and ended.console
    world.nothing_left(images=1)
    assert b"kept\n" in (folder / "upper").read_bytes()


def test_a_vm_of_vsphere_from_launch_to_end(wide_kernel: Kernel, guest_files: Path, tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)

    async def main() -> None:
        world = await asyncio.to_thread(World, simulator, tmp_path)
        try:
            await from_launch_to_end(world, wide_kernel, guest_files)
        finally:
            world.other.close()
            await world.driver.close()

    try:
        asyncio.run(main())
    finally:
        simulator.stop()
