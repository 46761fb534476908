"""Disks from the start, as the guest finds them."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace

import pytest

from hypercontainer.errors import NotFound, NotSupported
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import MEBIBYTE, Harness
from hypercontainer.suite.linux import LinuxHarness

SECTOR = 512


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@case()
async def a_read_only_disk_is_shared(harness: Harness) -> None:
    disk = harness.disk("base", read_only=True)
    first, second = await harness.launch(disks=(disk,)), await harness.launch(disks=(disk,))
    await first.kill()
    assert not await second.paused()


@case()
async def a_disks_file_stays_as_it_is_and_where_it_is(harness: Harness) -> None:
    content = os.urandom(MEBIBYTE)
    disks = [harness.disk(name, content=content, read_only=name == "read") for name in ("read", "write")]
    before = [disk.extents[0][0].stat() for disk in disks]
    vm = await harness.launch(disks=tuple(disks))
    await vm.kill()
    for disk, was in zip(disks, before, strict=True):
        path = disk.extents[0][0]
        assert path.read_bytes() == content
        assert (path.stat().st_ino, path.stat().st_mode) == (was.st_ino, was.st_mode)


@case("linux")
async def disks_are_found_by_their_serials_with_their_bytes(harness: LinuxHarness) -> None:
    """Eight of them, of serials that begin with each other, are as long as serials are, and look like numbers."""
    names = ("a", "ab", "abc", "0", "00", "x" * 20, "a-b", "-")
    contents = {name: os.urandom((place + 1) * SECTOR * 3) for place, name in enumerate(names)}
    disks = tuple(
        harness.disk(name, len(content), content, read_only=place % 2 == 0)
        for place, (name, content) in enumerate(contents.items())
    )
    sums = "".join(
        f"head -c {len(content)} $(disk {name}) | sha256sum\n" for name, content in contents.items()
    )
    said = await harness.says(sums, disks=disks)
    assert [line.split()[0] for line in said.splitlines()] == [digest(one) for one in contents.values()]


@case("linux")
async def extents_are_one_disk_in_their_order(harness: LinuxHarness) -> None:
    """Of files of which only the beginning is wanted, one of them twice."""
    content = os.urandom(3 * MEBIBYTE)
    paths = [harness.folder / name for name in ("one", "two")]
    paths[0].write_bytes(content[:MEBIBYTE] + b"not this")
    paths[1].write_bytes(content[MEBIBYTE:] + b"nor this")
    extents = ((paths[0], MEBIBYTE), (paths[1], 2 * MEBIBYTE), (paths[0], SECTOR))
    disk = DiskSpec("joined", extents, read_only=True)
    size = 3 * MEBIBYTE + SECTOR
    script = (
        f"d=$(disk joined); blockdev --getsize64 $d; tail -c +{size + 1} $d | tr -d '\\000' | wc -c\n"
        f"head -c {size} $d | sha256sum"
    )
    there, beyond, of_extents, _ = (await harness.says(script, disks=(disk,))).split()
    assert of_extents == digest(content + content[:SECTOR])
    most = size if harness.has("exact") else size + MEBIBYTE - 1
    assert size <= int(there) <= most and beyond == "0"


@case("linux")
async def what_a_guest_writes_is_at_its_place_in_the_file(harness: LinuxHarness) -> None:
    content = os.urandom(MEBIBYTE)
    disk = harness.disk("one", content=content)
    write = "printf written | dd of=$(disk one) bs=512 seek=7 conv=notrunc 2>/dev/null; sync; echo done"
    assert await harness.says(write, disks=(disk,)) == "done"
    now = disk.extents[0][0].read_bytes()
    assert now[: 7 * SECTOR] == content[: 7 * SECTOR]
    assert now[7 * SECTOR : 7 * SECTOR + 7] == b"written"
    assert now[8 * SECTOR :] == content[8 * SECTOR :]


@case("linux")
async def what_a_guest_has_flushed_survives_the_end_of_its_vm(harness: LinuxHarness) -> None:
    disk = harness.disk("one")
    write = (
        "printf flushed | dd of=$(disk one) bs=512 conv=notrunc,fsync 2>/dev/null; echo done; sleep 1000000"
    )
    vm = await harness.launch(**harness.linux(write), disks=(disk,))
    await harness.printed(vm, "done")
    await vm.kill()
    assert disk.extents[0][0].read_bytes()[:7] == b"flushed"


@case("linux")
async def a_read_only_disk_stays_as_it_is(harness: LinuxHarness) -> None:
    disk = harness.disk("one", content=b"as it was", read_only=True)
    script = "dd if=$(disk one) bs=9 count=1 2>/dev/null; printf other | dd of=$(disk one) 2>/dev/null; sync"
    assert await harness.says(script, disks=(disk,)) == "as it was"
    assert disk.extents[0][0].read_bytes()[:9] == b"as it was"


@case("linux", "read-only")
async def a_guest_is_told_which_of_its_disks_are_read_only(harness: LinuxHarness) -> None:
    disks = (harness.disk("one"), harness.disk("two", read_only=True))
    said = await harness.says(
        "for i in one two; do cat /sys/block/$(basename $(disk $i))/ro; done", disks=disks
    )
    assert said.split() == ["0", "1"]


@case("linux")
async def two_guests_read_one_disk(harness: LinuxHarness) -> None:
    content = os.urandom(MEBIBYTE)
    disk = harness.disk("base", content=content, read_only=True)
    said = await asyncio.gather(
        *(harness.says("sha256sum <$(disk base)", disks=(disk,), memory_mib=96) for _ in range(2))
    )
    assert [each.split()[0] for each in said] == [digest(content)] * 2


@case("linux")
async def a_file_with_any_name_is_a_disk(harness: LinuxHarness) -> None:
    for name in ("a, b=c", "quo'te\"", "per%cent$", "Zürich", "colon:x", "<a>&amp;"):
        path = harness.folder / name
        path.write_bytes(name.encode().ljust(SECTOR, b"\0"))
    paths = [
        harness.folder / name for name in ("a, b=c", "quo'te\"", "per%cent$", "Zürich", "colon:x", "<a>&amp;")
    ]
    disks = tuple(DiskSpec(f"n{i}", ((path, SECTOR),), read_only=False) for i, path in enumerate(paths))
    said = await harness.says("for i in 0 1 2 3 4 5; do tr -d '\\000' <$(disk n$i); echo; done", disks=disks)
    assert said.splitlines() == [path.name for path in paths]


@case("grows")
async def a_disk_grows_with_its_file(harness: Harness) -> None:
    """Also for the next one who holds the VM; one that is not there does not."""
    disk = harness.disk("first", grows=True)
    vm = await harness.launch(disks=(disk,))
    path = disk.extents[0][0]
    os.truncate(path, 2 * MEBIBYTE)
    await vm.grow_disk("first", 2 * MEBIBYTE)
    with pytest.raises(NotFound):
        await vm.grow_disk("nothing", 2 * MEBIBYTE)
    again = await harness.adopted(vm)
    os.truncate(path, 4 * MEBIBYTE)
    await again.grow_disk("first", 4 * MEBIBYTE)
    assert path.stat().st_size == 4 * MEBIBYTE
    await again.kill()


@case("grows", "plugs")
async def a_plugged_disk_grows_with_its_file(harness: Harness) -> None:
    vm = await harness.launch()
    disk = harness.disk("later", grows=True)
    await vm.attach_disk(disk)
    os.truncate(disk.extents[0][0], 2 * MEBIBYTE)
    await vm.grow_disk("later", 2 * MEBIBYTE)


@case("grows", "linux")
async def a_guest_sees_its_disk_grow_and_uses_what_there_is_more(harness: LinuxHarness) -> None:
    disk = harness.disk("one", grows=True)
    script = (
        "d=$(disk one); echo ready; until [ $(blockdev --getsize64 $d) = 3145728 ]; do usleep 50000; done\n"
        "printf grown | dd of=$d bs=512 seek=6143 conv=notrunc 2>/dev/null; sync; echo done"
    )
    vm = await harness.launch(**harness.script(script), disks=(disk,))
    await harness.printed(vm, "ready")
    path = disk.extents[0][0]
    os.truncate(path, 3 * MEBIBYTE)
    await vm.grow_disk("one", 3 * MEBIBYTE)
    assert "done" in harness.said(await vm.wait())
    assert path.read_bytes()[6143 * SECTOR :][:5] == b"grown"


@case("no grows")
async def a_driver_whose_disks_do_not_grow_says_so(harness: Harness) -> None:
    vm = await harness.launch(disks=(harness.disk("one"),))
    with pytest.raises(NotSupported):
        await vm.grow_disk("one", 2 * MEBIBYTE)


@case("no formats")
async def a_driver_that_has_raw_disks_alone_says_so(harness: Harness) -> None:
    disk = replace(harness.disk("one"), format="qcow2")
    spec = harness.spec(disks=(disk,))
    with pytest.raises(NotSupported):
        harness.owned(await harness.driver.launch(spec))
    assert not spec.run_dir.exists()


@case("process")
async def a_vm_with_many_disks_ends_like_any_other(harness: Harness) -> None:
    disks = tuple(harness.disk(f"d{place}", read_only=place > 1) for place in range(12))
    vm = await harness.launch(disks=disks)
    assert (await (await harness.adopted(vm)).kill()).reason is ExitReason.HOST_KILL
