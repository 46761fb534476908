"""Saved VMs and clones of them: what only real memory shows."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import (
    LaunchError,
    Unavailable,
)
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.snapshot import Snapshot, memory_file, sealed
from hypercontainer.hypervisor.spec import DiskSpec, DriveSpec

COUNT = "m"
MEBIBYTE = 1 << 20
DRIVES = (DriveSpec("image", read_only=True), DriveSpec("disk", read_only=False))
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


def raw_file(path: Path, size: int = MEBIBYTE) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def disks(folder: Path) -> tuple[DiskSpec, DiskSpec]:
    """What goes into ``DRIVES``: two extents that are one, and one to write to."""
    one, two = raw_file(folder / "one"), raw_file(folder / "two", 2 * MEBIBYTE)
    image = DiskSpec("image", ((one, MEBIBYTE), (two, MEBIBYTE)), read_only=True)
    return image, DiskSpec("disk", ((two, 2 * MEBIBYTE),), read_only=False)


async def printed(vm: VM, enough: Callable[[str], object]) -> str:
    """What the guest has said, once it is enough: there is no event for it, since only a test waits for it."""
    async with asyncio.timeout(20):
        while not enough(vm.console_tail()):
            await asyncio.sleep(0.01)
    return vm.console_tail()


def digest(fd: int) -> bytes:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").digest()


def vm_bytes(harness: Any) -> int:
    size: int = harness.spec().memory_mib * MEBIBYTE
    return size


def follows(text: str, last: str) -> bool:
    """Whether the guest counted on from ``last`` without a gap; it counts from "0" to "o" and over again."""
    return all(ord(next_) == (ord(one) - 47) % 64 + 48 for one, next_ in zip(last + text, text, strict=False))


async def counting(harness: Any, **changes: Any) -> tuple[Snapshot, str]:
    """A saved VM that counts in its memory, and the last that it printed."""
    vm = await harness.launch_to_save(COUNT, **changes)
    await printed(vm, lambda text: len(text) > 4 and follows(text[-4:], text[-5]))
    snapshot: Snapshot = await vm.save()
    harness.stack.callback(snapshot.close)
    return snapshot, vm.console_tail()[-1]


def longer(least: int, text: str) -> bool:
    return len(text) > least


@pytest.mark.vm
def test_a_clone_begins_where_the_saved_one_stopped_and_not_before_it_is_resumed(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        snapshot, last = await counting(harness)
        vm = await harness.clone(snapshot)
        assert (await vm._qmp.execute("query-status"))["running"] is False
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await vm.wait()
        assert vm.console_tail() == ""
        used = (await vm.stats()).cpu_ns
        await vm.resume()
        text = await printed(vm, partial(longer, 80))  # all the way round
        assert follows(text, last), (last, text)
        assert (await vm.stats()).cpu_ns > used

    run_qemu(test)


@pytest.mark.vm
def test_clones_do_not_see_each_others_memory(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        snapshot, last = await counting(harness)
        before = digest(snapshot.memory_fd)
        first, second = await harness.clone(snapshot), await harness.clone(snapshot)
        seen = {first: 0, second: 0}
        for _ in range(3):
            for vm in seen:
                await vm.resume()
                text = await printed(vm, partial(longer, seen[vm] + 5))
                await vm.pause()
                seen[vm] = len(text)
        third = await harness.clone(snapshot)
        await third.resume()
        for vm in (first, second, third):
            assert follows(await printed(vm, len), last), (last, vm.console_tail())
        assert digest(snapshot.memory_fd) == before

    run_qemu(test)


@pytest.mark.vm
def test_who_looks_at_a_process_does_not_keep_it_from_being_saved(run_qemu: Run) -> None:
    """As ps(1) and any monitor do: the kernel holds a process's memory for as long as its maps are read."""

    def look(pid: int) -> None:
        with suppress(OSError):
            while True:
                Path(f"/proc/{pid}/smaps").read_bytes()

    async def test(harness: Any) -> None:
        for _ in range(12):
            vm = await harness.launch_to_save(COUNT, memory_mib=64)
            await printed(vm, partial(longer, 20))
            looking = [asyncio.create_task(asyncio.to_thread(look, vm.pid)) for _ in range(3)]
            snapshot = await vm.save()
            snapshot.close()
            await asyncio.wait(looking)

    run_qemu(test)


@pytest.mark.vm
def test_a_clones_process_cannot_write_to_the_snapshot(run_qemu: Run) -> None:
    """Not even as one that its guest has taken over: there is no way to the file but a private mapping."""

    async def test(harness: Any) -> None:
        snapshot, _ = await counting(harness)
        vm = await harness.clone(snapshot)
        await vm.resume()
        await printed(vm, len)
        proc = Path(f"/proc/{vm.pid}")
        ours = os.fstat(snapshot.memory_fd)
        mapped = [
            line.split()[1]
            for line in (proc / "maps").read_text().splitlines()
            if line.split()[4] == str(ours.st_ino) and "memfd:memory" in line
        ]
        assert mapped
        assert all(rights.endswith("p") for rights in mapped)
        held = [link for link in (proc / "fd").iterdir() if os.stat(link).st_ino == ours.st_ino]
        assert held
        for link in held:
            fd = os.open(link, os.O_RDWR)
            try:
                with pytest.raises(PermissionError):
                    os.pwrite(fd, b"x", 0)
                with pytest.raises(PermissionError):
                    mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_WRITE)
            finally:
                os.close(fd)

    run_qemu(test)


@pytest.mark.vm
def test_a_clone_that_comes_to_nothing_leaves_nothing(run_qemu: Run) -> None:
    """The fixture looks for processes, descriptors and cgroups."""

    async def test(harness: Any) -> None:
        good = await harness.saved()
        state = os.pread(good.state_fd, os.fstat(good.state_fd).st_size, 0)
        for broken in (b"", b"not a state", state[: len(state) // 2], bytes(len(state))):
            memory, other = memory_file("memory", vm_bytes(harness)), memory_file("state")
            os.write(other, broken)
            snapshot = sealed(memory, other)
            try:
                spec = harness.spec()
                with pytest.raises(Unavailable, match="cannot be cloned"):
                    await harness.driver.clone(spec, snapshot)
                assert not spec.run_dir.exists()
            finally:
                snapshot.close()

    run_qemu(test)


@pytest.mark.vm
def test_without_a_hypervisor_nothing_is_left_either(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        snapshot = await harness.saved()
        none = QemuDriver(tmp_path / "facts", binary="qemu-system-nothing")
        for attempt in (none.launch_to_save(harness.spec()), none.clone(harness.spec(), snapshot)):
            with pytest.raises(LaunchError, match="qemu-system-nothing"):
                await attempt

    run_qemu(test)


@pytest.mark.vm
def test_a_cancelled_clone_leaves_nothing(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        snapshot = await harness.saved()
        for delay_s in (0.0, 0.02, 0.05, 0.1):
            spec = harness.spec()
            cloning = asyncio.create_task(harness.driver.clone(spec, snapshot))
            await asyncio.wait([cloning], timeout=delay_s)
            cloning.cancel()
            result = (await asyncio.gather(cloning, return_exceptions=True))[0]
            if not isinstance(result, BaseException):
                await result.kill()
            assert not spec.run_dir.exists()

    run_qemu(test)


@pytest.mark.vm
def test_a_disk_is_open_while_it_is_in_its_drive(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        image, disk = disks(tmp_path)
        vm = await harness.clone(await harness.saved(drives=DRIVES), drives=DRIVES)

        async def shown(node: str) -> tuple[int, bool]:
            nodes = await vm._qmp.execute("query-named-block-nodes")
            (found,) = [each for each in nodes if each["node-name"] == node]
            return found["image"]["virtual-size"], found["ro"]

        def opened() -> set[str]:
            links = [os.readlink(link) for link in Path(f"/proc/{vm.pid}/fd").iterdir()]
            return {link for link in links if link.startswith(str(tmp_path))} - {f"{tmp_path}/kernel"}

        empty, before = await shown("drive-disk"), opened()
        await vm.insert_disk(image)
        await vm.insert_disk(disk)
        assert await shown("drive-image") == (2 * MEBIBYTE, True)
        assert await shown("drive-disk") == (2 * MEBIBYTE, False)
        assert opened() - before == {str(tmp_path / "one"), str(tmp_path / "two")}
        await vm.resume()  # a QEMU that is paused lets go of no descriptor
        await vm.eject_disk("image")
        await vm.eject_disk("disk")
        assert await shown("drive-image") == (empty[0], True)
        assert await shown("drive-disk") == empty
        assert opened() == before

    run_qemu(test)


@pytest.mark.vm
def test_a_fingerprint_is_of_what_a_guest_sees(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec()
        fingerprint = await harness.driver.fingerprint(spec)
        others = harness.spec(owner_uid=None, kernel_args=("x", "tsc_early_khz=2000000"))
        same = harness.spec(owner_uid=None, kernel_args=("x", "tsc_early_khz=2000001"))
        assert await harness.driver.fingerprint(replace(spec, id="x", name="x")) == fingerprint
        assert await harness.driver.fingerprint(others) == await harness.driver.fingerprint(same)
        different = [
            fingerprint,
            *[
                await harness.driver.fingerprint(replace(spec, **changes))
                for changes in (
                    {"memory_mib": 32},
                    {"vcpus": 2},
                    {"nics": ()},
                    {"kernel_args": ("x", "quiet")},
                    {"drives": DRIVES},
                    {"hotplug_slots": 1},
                )
            ],
        ]
        assert len(set(different)) == len(different)

    run_qemu(test)
