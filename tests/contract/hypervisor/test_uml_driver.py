"""What only User Mode Linux has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, HypervisorError, LaunchError, NotSupported
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, DriveSpec
from hypercontainer.hypervisor.uml import control
from hypercontainer.hypervisor.uml.argv import Mode
from nics import nat_nic

pytestmark = pytest.mark.vm

HALT, POWER_OFF, KEEP = "h", "s", "k"
MEBIBYTE = 1 << 20
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


def raw(path: Path, *, read_only: bool = False) -> DiskSpec:
    with path.open("wb") as file:
        file.truncate(MEBIBYTE)
    return DiskSpec(path.name, ((path, MEBIBYTE),), read_only)


async def printed(vm: VM, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in vm.console_tail():
            await asyncio.sleep(0.01)


def test_a_disk_that_is_in_use_is_kept(run_uml: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(KEEP)
        await vm.attach_disk(raw(tmp_path / "one"))
        await printed(vm, "kept")
        with pytest.raises(HypervisorError, match="refused to give up disk one: Device is currently open"):
            await vm.detach_disk("one")
        with pytest.raises(Conflict, match="one is attached already"):
            await vm.attach_disk(raw(tmp_path / "one"))

    run_uml(test)


def test_who_writes_to_a_disk_has_it_alone(run_uml: Run, tmp_path: Path) -> None:
    """By QEMU's own locks, for as long as the VM lives and not a moment longer."""

    async def test(harness: Any) -> None:
        disk = raw(tmp_path / "one")
        first = await harness.launch(disks=(disk,))
        with pytest.raises(Conflict, match="in use by another virtual machine"):
            await harness.launch(disks=(disk,))
        second = await harness.launch()
        with pytest.raises(Conflict, match="in use by another virtual machine"):
            await second.attach_disk(replace(disk, serial="other"))
        await first.kill()
        await second.attach_disk(replace(disk, serial="other"))

    run_uml(test)


def test_a_disk_of_many_files(run_uml: Run, tmp_path: Path) -> None:
    """As many as an image may have layers, also into a guest that runs."""

    async def test(harness: Any) -> None:
        disk = raw(tmp_path / "layer", read_only=True)
        layers = replace(disk, extents=disk.extents * 130)
        vm = await harness.launch(KEEP, disks=(layers,))
        await printed(vm, "kept")
        await vm.attach_disk(replace(layers, serial="again"))

    run_uml(test)


def test_it_runs_by_ptrace_too(run_uml: Run) -> None:
    async def test(harness: Any) -> None:
        driver = harness.another_driver(Mode.PTRACE)
        verdict = await driver.probe(Accelerator.NATIVE, harness.probed)
        assert verdict.usable, verdict
        vm = harness.owned(await driver.launch(harness.spec(POWER_OFF)))
        assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run_uml(test)


def test_what_it_cannot_do_it_says(run_uml: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        other = tmp_path / "other"
        other.write_bytes(b"\x7fELF" + bytes(MEBIBYTE))
        with pytest.raises(LaunchError, match="no User Mode Linux, or one without Hyper's patches"):
            await harness.driver.launch(harness.spec(kernel=other))
        verdict = await harness.driver.probe(Accelerator.NATIVE, other)
        assert not verdict.usable
        assert "no User Mode Linux" in verdict.reason
        vm = await harness.launch()
        for refused in (
            vm.save(),
            vm.attach_disk(replace(raw(tmp_path / "two"), format="qcow2")),
            harness.driver.launch_to_save(harness.spec()),
        ):
            with pytest.raises(NotSupported):
                await refused

    run_uml(test)


def test_a_fingerprint_is_of_what_a_guest_sees(run_uml: Run) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec(nics=(nat_nic(),))
        same = replace(
            spec, id="x", name="x", owner_uid=None, nics=(nat_nic(PortMapping(80, 8080, "127.0.0.1")),)
        )
        assert await harness.driver.fingerprint(same) == await harness.driver.fingerprint(spec)
        different = [await harness.driver.fingerprint(spec)]
        different.append(await harness.another_driver(Mode.PTRACE).fingerprint(spec))
        for changes in (
            {"memory_mib": 32},
            {"nics": ()},
            {"nics": (replace(spec.nics[0], backend=replace(spec.nics[0].backend, restrict=True)),)},
            {"kernel_args": ("x",)},
            {"drives": (DriveSpec("image", read_only=True),)},
            {"hotplug_slots": 1},
        ):
            different.append(await harness.driver.fingerprint(replace(spec, **changes)))
        assert len(set(different)) == len(different)

    run_uml(test)


def test_a_kernel_that_does_not_answer(run_uml: Run, tmp_path: Path) -> None:
    """It stands still: who asks is told so, and the disk keeps its place, which the kernel may yet give it."""

    async def test(harness: Any) -> None:
        vm = await harness.launch(KEEP)
        await vm.pause()
        with pytest.raises(HypervisorError, match=r"did not answer within 0\.2 s"):
            await control.ask(vm.record.run_dir / "control.sock", "version", timeout_s=0.2)
        await vm.resume()
        assert "7." in await control.ask(vm.record.run_dir / "control.sock", "version")
        with pytest.raises(control.Refused, match="Unknown command"):
            await control.ask(vm.record.run_dir / "control.sock", "halt")
        with pytest.raises(HypervisorError, match="too much to ask"):
            await control.ask(vm.record.run_dir / "control.sock", "x" * 5000)

    run_uml(test)
