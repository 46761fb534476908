"""Drives, into which disks are put while a VM runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hypercontainer.errors import Conflict, HypervisorError, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import DiskSpec, DriveSpec
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import MEBIBYTE, Harness
from hypercontainer.suite.linux import LinuxHarness

DRIVES = (DriveSpec("image", read_only=True), DriveSpec("disk", read_only=False))


def disks(harness: Harness) -> tuple[DiskSpec, DiskSpec]:
    """What goes into ``DRIVES``: two extents that are one, and one to write to."""
    one, two = harness.file("one"), harness.file("two", 2 * MEBIBYTE)
    image = DiskSpec("image", ((one, MEBIBYTE), (two, MEBIBYTE)), read_only=True)
    return image, DiskSpec("disk", ((two, 2 * MEBIBYTE),), read_only=False)


async def with_drives(harness: Harness) -> VM:
    """As it stands ready: a clone, or, of a driver that has none, one that has booted."""
    if harness.has("templates"):
        return await harness.clone(await harness.saved(drives=DRIVES), drives=DRIVES)
    return await harness.launch(drives=DRIVES)


@case("drives")
async def disks_go_into_drives_and_out(harness: Harness) -> None:
    image, disk = disks(harness)
    vm = await with_drives(harness)
    with pytest.raises(NotFound, match="nowhere"):
        await vm.insert_disk(replace(disk, serial="nowhere"))
    for serial in ("disk", "nowhere"):
        with pytest.raises(NotFound, match=serial):
            await vm.eject_disk(serial)
    await vm.insert_disk(image)
    await vm.insert_disk(disk)
    for full in (image, disk):
        with pytest.raises(Conflict, match=full.serial):
            await vm.insert_disk(full)
    await vm.resume()
    for _ in range(2):  # what was taken out is really out
        await vm.eject_disk("image")
        await vm.eject_disk("disk")
        with pytest.raises(NotFound, match="disk"):
            await vm.eject_disk("disk")
        await vm.insert_disk(image)
        await vm.insert_disk(disk)


@case("drives", "plugs")
async def drives_and_slots_take_nothing_of_each_other(harness: Harness) -> None:
    image, _ = disks(harness)
    disk = harness.disk("disk")
    vm = await with_drives(harness)
    await vm.resume()
    plugged = replace(harness.disk("plugged", read_only=True), serial="one")
    for serial in ("one", "more"):
        await vm.attach_disk(replace(plugged, serial=serial))
    with pytest.raises(Unavailable, match="slot"):
        await vm.attach_disk(replace(plugged, serial="too-many"))
    await vm.insert_disk(image)
    await vm.insert_disk(disk)
    with pytest.raises(NotFound, match="one"):
        await vm.eject_disk("one")
    again = await harness.adopted(vm)
    await again.eject_disk("disk")
    await again.insert_disk(disk)
    await again.kill()


@case("drives")
async def a_disk_that_cannot_be_inserted_leaves_the_drive_empty(harness: Harness) -> None:
    vm = await harness.launch(drives=DRIVES)
    gone = DiskSpec("disk", ((harness.folder / "gone.img", MEBIBYTE),), read_only=False)
    with pytest.raises(HypervisorError, match=r"disk"):
        await vm.insert_disk(gone)
    harness.file("gone.img")
    await vm.insert_disk(gone)


@case("drives", "linux")
async def a_guest_reads_what_was_put_into_its_drive(harness: LinuxHarness) -> None:
    """However long it stood empty before; and what it writes there is in the file."""
    script = (
        'echo ready; until [ "$(head -c 4 $(disk image) 2>/dev/null)" = here ]; do usleep 50000; done\n'
        "until printf written | dd of=$(disk disk) bs=512 seek=3 conv=notrunc,fsync 2>/dev/null\n"
        "do usleep 50000; done; echo done"
    )
    image, disk = harness.disk("image", content=b"here", read_only=True), harness.disk("disk")
    vm = await harness.launch(**harness.script(script), drives=DRIVES)
    await harness.printed(vm, "ready")
    await vm.insert_disk(image)
    await vm.insert_disk(disk)
    harness.said(await vm.wait())
    assert disk.extents[0][0].read_bytes()[1536:1543] == b"written"


@case("no drives")
async def a_driver_without_drives_says_so(harness: Harness) -> None:
    spec = harness.spec(drives=DRIVES)
    with pytest.raises(NotSupported):
        harness.owned(await harness.driver.launch(spec))
    assert not spec.run_dir.exists()
