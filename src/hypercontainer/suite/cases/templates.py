"""Saved VMs and clones of them."""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from hypercontainer.errors import (
    Conflict,
    HypervisorError,
    InvalidArgument,
    LaunchError,
    NotSupported,
    Unavailable,
)
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.suite.case import case
from hypercontainer.suite.cases.drives import DRIVES
from hypercontainer.suite.harness import MEBIBYTE, UNPLUG, Harness

QEMU_IMG = "qemu-img"


def qcow2(harness: Harness, serial: str, size: int = 1 << 30) -> DiskSpec:
    """A disk that is larger than its file."""
    if shutil.which(QEMU_IMG) is None:
        pytest.skip(f"there is no {QEMU_IMG} to make a qcow2 file with")
    path = harness.folder / serial
    subprocess.run([QEMU_IMG, "create", "-q", "-f", "qcow2", path, str(size)], check=True)
    return DiskSpec(serial, ((path, size),), read_only=False, format="qcow2")


@case("templates")
async def a_vm_is_saved_once_and_is_gone(harness: Harness) -> None:
    vm = await harness.launch_to_save()
    snapshot = await vm.save()
    try:
        assert os.fstat(snapshot.memory_fd).st_size == harness.spec().memory_mib * MEBIBYTE
        assert (await vm.wait()).reason is ExitReason.HOST_KILL
        assert not vm.record.run_dir.exists()
        with pytest.raises(HypervisorError):
            await vm.save()
    finally:
        snapshot.close()


@case("templates")
async def clones_are_vms_of_their_own(harness: Harness) -> None:
    snapshot = await harness.saved()
    first, second = await asyncio.gather(harness.clone(snapshot), harness.clone(snapshot))
    assert first.record.id != second.record.id
    assert first.record.run_dir != second.record.run_dir
    await first.resume()
    await first.kill()
    await second.resume()
    assert not await second.paused()
    assert (await second.kill()).reason is ExitReason.HOST_KILL
    assert not list(first.record.run_dir.parent.iterdir())


@case("templates")
async def a_clone_is_connected_and_may_be_adopted(harness: Harness) -> None:
    vm = await harness.clone(await harness.saved())
    pair = await vm.connect_agent()
    vm.keep_agent(pair)
    assert await vm.connect_agent() == pair
    again = await harness.adopted(vm)
    await again.resume()
    assert (await again.kill()).reason is ExitReason.HOST_KILL


@case("templates")
async def a_snapshot_cannot_be_changed(harness: Harness) -> None:
    snapshot: Snapshot = await harness.saved()
    memory_fd = snapshot.memory_fd
    with pytest.raises(PermissionError):
        mmap.mmap(memory_fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_WRITE)
    for fd in (memory_fd, snapshot.state_fd):
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.truncate(fd, os.fstat(fd).st_size + 1)
    with pytest.raises(PermissionError):
        os.truncate(memory_fd, 0)


@case("templates")
async def clones_outlive_the_snapshot(harness: Harness) -> None:
    snapshot = await (await harness.launch_to_save()).save()
    clone = await harness.clone(snapshot)
    snapshot.close()
    await clone.resume()
    await clone.pause()
    await clone.resume()
    assert (await clone.kill()).reason is ExitReason.HOST_KILL


@case("templates")
async def only_what_was_launched_for_it_is_saved(harness: Harness) -> None:
    launched = await harness.launch()
    cloned = await harness.clone(await harness.saved())
    for vm in (launched, cloned):
        with pytest.raises(HypervisorError, match="not launched to be saved"):
            await vm.save()
        await vm.resume()  # it goes on


@case("templates", params={"less": (17,), "more": (32,)})
async def a_snapshot_of_another_size_is_refused(harness: Harness, memory_mib: int) -> None:
    snapshot = await harness.saved(memory_mib=24)
    spec = harness.spec(memory_mib=memory_mib)
    with pytest.raises(Unavailable):
        await harness.driver.clone(spec, snapshot)
    assert not spec.run_dir.exists()
    await harness.clone(snapshot, memory_mib=24)  # it is as good as before


@case("templates")
async def a_launch_to_save_or_a_clone_that_cannot_begin_leaves_nothing(harness: Harness) -> None:
    snapshot = await harness.saved()
    missing = replace(harness.spec(), kernel=harness.folder / "no-kernel")
    for attempt in (harness.driver.launch_to_save(missing), harness.driver.clone(missing, snapshot)):
        with pytest.raises(LaunchError, match="no-kernel"):
            await attempt
        assert not missing.run_dir.exists()


@case("templates")
async def a_saved_specification_that_makes_no_sense_leaves_nothing_either(harness: Harness) -> None:
    snapshot = await harness.saved()
    with pytest.raises(InvalidArgument, match="0 vCPUs"):
        await harness.driver.launch_to_save(harness.spec(vcpus=0))
    with pytest.raises(InvalidArgument, match="0 vCPUs"):
        await harness.driver.clone(harness.spec(vcpus=0), snapshot)


@case("templates", "plugs", "drives", "formats")
async def a_clone_has_its_templates_slots(harness: Harness) -> None:
    vm = await harness.clone(await harness.saved(drives=DRIVES), drives=DRIVES)
    await vm.insert_disk(harness.disk("image", read_only=True))
    first, second = harness.disk("first"), qcow2(harness, "second")
    await vm.attach_disk(first)  # before it runs
    await vm.resume()
    await vm.attach_disk(second)
    for taken in (first, second):
        with pytest.raises(Conflict, match=taken.serial):
            await vm.attach_disk(taken)
    with pytest.raises(Unavailable, match="slot"):
        await vm.attach_disk(harness.disk("third"))


@case("templates", "plugs", "letters")
async def a_clone_gives_disks_up_again(harness: Harness) -> None:
    saved = await harness.launch_to_save(UNPLUG)
    await harness.printed(saved)
    snapshot = await saved.save()
    harness.stack.callback(snapshot.close)
    disk = harness.disk("one")
    vm = await harness.clone(snapshot)
    await vm.attach_disk(disk)
    await vm.resume()
    for _ in range(2):
        await vm.detach_disk("one")
        await vm.attach_disk(disk)


@case("formats", "plugs", "letters")
async def qcow2_files_are_disks_too(harness: Harness) -> None:
    root, more = qcow2(harness, "root"), qcow2(harness, "more")
    vm = await harness.launch(UNPLUG, disks=(root,))
    await harness.printed(vm)
    await vm.attach_disk(more)
    await vm.detach_disk("more")
    await vm.attach_disk(replace(more, read_only=True))
    parts = DiskSpec("parts", (more.extents[0], root.extents[0]), read_only=True, format="qcow2")
    with pytest.raises(InvalidArgument, match="one file"):
        await vm.attach_disk(parts)
    with pytest.raises(InvalidArgument, match="vhd"):
        await vm.attach_disk(replace(more, serial="other", format="vhd"))


@case("templates", "drives", "formats")
async def qcow2_files_go_into_drives(harness: Harness) -> None:
    disk = qcow2(harness, "disk")
    vm = await harness.clone(await harness.saved(drives=DRIVES), drives=DRIVES)
    for _ in range(2):
        await vm.insert_disk(disk)
        await vm.eject_disk("disk")


@case("no templates")
async def a_driver_that_saves_no_vms_says_so(harness: Harness) -> None:
    spec = harness.spec()
    with pytest.raises(NotSupported):
        await harness.driver.launch_to_save(spec)
    assert not spec.run_dir.exists()
    vm = await harness.launch()
    with pytest.raises(NotSupported):
        await vm.save()
    assert not await vm.paused()
