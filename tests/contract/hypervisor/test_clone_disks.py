"""qcow2 files as disks, and disks plugged into clones: what every driver keeps."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import Conflict, InvalidArgument, Unavailable
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import DiskSpec, DriveSpec

UNPLUG = "d"
BANNER = "test guest is up"
MEBIBYTE = 1 << 20
DRIVES = (DriveSpec("image", read_only=True), DriveSpec("disk", read_only=False))
Run = Callable[[Callable[[Any], Awaitable[None]]], None]
Linux = Callable[[str], dict[str, Any]]


def raw(path: Path, *, read_only: bool = False) -> DiskSpec:
    with path.open("wb") as file:
        file.truncate(MEBIBYTE)
    return DiskSpec(path.name, ((path, MEBIBYTE),), read_only)


def qcow2(path: Path, size: int = 1 << 30) -> DiskSpec:
    """A disk that is larger than its file."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True)
    return DiskSpec(path.name, ((path, size),), read_only=False, format="qcow2")


async def up(vm: VM, banner: str = BANNER) -> None:
    """Returns once the guest has said so: there is no event for it, since nobody but a test waits for it."""
    async with asyncio.timeout(20):
        while banner not in vm.console_tail():
            await asyncio.sleep(0.01)


async def saved_up(harness: Any) -> Snapshot:
    """Of a guest that gives its disks up."""
    vm = await harness.launch_to_save(UNPLUG)
    await up(vm)
    snapshot: Snapshot = await vm.save()
    harness._stack.callback(snapshot.close)
    return snapshot


def test_qcow2_files_are_disks_too(run_whole: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        root, more = qcow2(tmp_path / "root"), qcow2(tmp_path / "more")
        vm = await harness.launch(UNPLUG, disks=(root,))
        await up(vm)
        await vm.attach_disk(more)
        await vm.detach_disk("more")
        await vm.attach_disk(replace(more, read_only=True))
        parts = DiskSpec("parts", (more.extents[0], root.extents[0]), read_only=True, format="qcow2")
        with pytest.raises(InvalidArgument, match="one file"):
            await vm.attach_disk(parts)
        with pytest.raises(InvalidArgument, match="vhd"):
            await vm.attach_disk(replace(more, serial="other", format="vhd"))

    run_whole(test)


def test_qcow2_files_go_into_drives(run_whole: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        disk = qcow2(tmp_path / "disk")
        vm = await harness.clone(await harness.saved(drives=DRIVES), drives=DRIVES)
        for _ in range(2):
            await vm.insert_disk(disk)
            await vm.eject_disk("disk")

    run_whole(test)


def test_a_clone_has_its_templates_slots(run_whole: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.clone(await harness.saved(drives=DRIVES), drives=DRIVES)
        await vm.insert_disk(raw(tmp_path / "image", read_only=True))
        first, second = raw(tmp_path / "first"), qcow2(tmp_path / "second")
        await vm.attach_disk(first)  # before it runs
        await vm.resume()
        await vm.attach_disk(second)
        for taken in (first, second):
            with pytest.raises(Conflict, match=taken.serial):
                await vm.attach_disk(taken)
        with pytest.raises(Unavailable, match="slot"):
            await vm.attach_disk(raw(tmp_path / "third"))

    run_whole(test)


def test_a_clone_gives_disks_up_again(run_whole: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        disk = raw(tmp_path / "one")
        vm = await harness.clone(await saved_up(harness))
        await vm.attach_disk(disk)
        await vm.resume()
        for _ in range(2):
            await vm.detach_disk("one")
            await vm.attach_disk(disk)

    run_whole(test)


# ---------------------------------------------------------------------------- QEMU


@pytest.mark.vm
def test_a_linux_guest_finds_what_its_clone_was_given(run_qemu: Run, tmp_path: Path, linux: Linux) -> None:
    """Before it went on and while it runs, raw and qcow2, with what it writes where it belongs."""
    script = (
        "echo guest waits; until [ -b /dev/vda ]; do sleep 0.05; done; cat /sys/block/vda/serial; echo\n"
        "dd if=/dev/vda bs=9 count=1 2>/dev/null; echo\n"
        "printf written | dd of=/dev/vda bs=512 seek=2 2>/dev/null; sync\n"
        "echo first done; until [ -b /dev/vdb ]; do sleep 0.05; done; cat /sys/block/vdb/serial /sys/block/vdb/size"
    )

    async def test(harness: Any) -> None:
        path, second = tmp_path / "first", raw(tmp_path / "second")
        path.write_bytes(b"from here".ljust(MEBIBYTE, b"\0"))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", path, f"{path}.qcow2"], check=True)
        first = DiskSpec("first", ((Path(f"{path}.qcow2"), MEBIBYTE),), read_only=False, format="qcow2")
        changes = linux(script)
        saved = await harness.launch_to_save(**changes)
        await up(saved, "guest waits")
        snapshot = await saved.save()
        harness._stack.callback(snapshot.close)
        vm = await harness.clone(snapshot, **changes)
        await vm.attach_disk(first)
        await vm.resume()
        await up(vm, "first done")
        await vm.attach_disk(second)
        ended = await vm.wait()
        assert ended.reason is ExitReason.GUEST_SHUTDOWN
        said = ended.console.partition("[")[0]  # the kernel's last word
        assert said.split() == "first from here first done second2048".split()
        subprocess.run(
            ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", first.extents[0][0], path], check=True
        )
        assert path.read_bytes()[1024:1031] == b"written"

    run_qemu(test)
