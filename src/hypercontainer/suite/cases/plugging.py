"""Disks and network interfaces that come and go while a VM runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from hypercontainer.errors import (
    Conflict,
    HypervisorError,
    InvalidArgument,
    NotFound,
    NotSupported,
    Unavailable,
)
from hypercontainer.hypervisor.spec import DiskSpec, Nic, Tap
from hypercontainer.linux import netns
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import BANNER, HALT, MEBIBYTE, UNPLUG, Harness
from hypercontainer.suite.linux import LinuxHarness
from hypercontainer.suite.tap_space import TapSpace

KEEPER = Path("/run/keeper.sock")
FIRST, SECOND, THIRD = (Nic(f"52:54:00:12:34:6{place}", Tap(KEEPER, f"tap{place}")) for place in range(3))


def joined(harness: Harness, serial: str) -> DiskSpec:
    """Of two extents."""
    one, two = harness.file("one-part"), harness.file("two-parts", 2 * MEBIBYTE)
    return DiskSpec(serial, ((one, MEBIBYTE), (two, 2 * MEBIBYTE)), read_only=True)


@case("plugs", "letters")
async def disks_are_plugged_in_and_out(harness: Harness) -> None:
    layers = joined(harness, "layers")
    vm = await harness.launch(UNPLUG, disks=(harness.disk("root"),), hotplug_slots=2)
    await harness.printed(vm)
    await vm.attach_disk(layers)
    with pytest.raises(Conflict):
        await vm.attach_disk(layers)
    with pytest.raises(NotFound):
        await vm.detach_disk("nothing")
    again = await harness.adopted(vm)
    await again.detach_disk("layers")
    await again.attach_disk(layers)
    await again.attach_disk(replace(layers, serial="more"))
    with pytest.raises(Unavailable, match="slot"):
        await again.attach_disk(replace(layers, serial="too-many"))
    await again.detach_disk("layers")
    await again.attach_disk(replace(layers, serial="in-its-place"))
    await again.kill()


@case("plugs")
async def a_disk_from_the_start_keeps_its_serial_from_others(harness: Harness) -> None:
    disk = harness.disk("root")
    vm = await harness.launch(disks=(disk,))
    with pytest.raises(Conflict):
        await vm.attach_disk(replace(harness.disk("other"), serial="root"))
    await vm.attach_disk(harness.disk("more"))


@case("plugs")
async def a_vm_without_slots_takes_no_more_disks(harness: Harness) -> None:
    vm = await harness.launch(hotplug_slots=0)
    with pytest.raises(Unavailable, match="slots"):
        await vm.attach_disk(harness.disk("one", read_only=True))


@case("plugs", "letters", "keeps")
async def a_guest_that_keeps_a_disk_is_an_error_and_not_a_hang(harness: Harness) -> None:
    vm = await harness.launch(HALT)
    await harness.printed(vm, BANNER)
    await vm.attach_disk(harness.disk("one", read_only=True))
    with pytest.raises(HypervisorError, match="one"):
        await vm.detach_disk("one", timeout_s=0.1)


@case("plugs")
async def an_attachment_that_fails_can_be_repeated(harness: Harness) -> None:
    vm = await harness.launch()
    disk = DiskSpec("one", ((harness.folder / "one", MEBIBYTE),), read_only=True)
    with pytest.raises(HypervisorError, match="one"):
        await vm.attach_disk(disk)
    harness.file("one")
    await vm.attach_disk(disk)


@case("plugs")
async def attachments_that_make_no_sense_take_no_slot(harness: Harness) -> None:
    vm = await harness.launch(hotplug_slots=1)
    good = harness.disk("one")
    for wrong in (replace(good, serial="A,b"), replace(good, extents=()), replace(good, format="vhd")):
        with pytest.raises(InvalidArgument):
            await vm.attach_disk(wrong)
    with pytest.raises(NotSupported):
        await vm.attach_disk(replace(good, extents=good.extents * 2))
    await vm.attach_disk(good)


@case("no plugs")
async def a_driver_whose_vms_are_given_nothing_more_says_so(harness: Harness) -> None:
    vm = await harness.launch()
    with pytest.raises(NotSupported):
        await vm.attach_disk(harness.disk("one"))
    with pytest.raises(NotSupported):
        await vm.attach_nic(FIRST)


@case("plugs", "linux")
async def a_guest_sees_plugged_disks_come_and_go(harness: LinuxHarness) -> None:
    content = os.urandom(MEBIBYTE)
    script = (
        "for round in 1 2 3; do echo ready$round\n"
        "sha256sum <$(disk plugged); printf $round | dd of=$(disk plugged) bs=512 seek=$round conv=notrunc,fsync\n"
        "echo read$round; gone plugged; done; echo left; sleep 1000000"
    )
    vm = await harness.launch(**harness.script(script))
    for place in (1, 2, 3):
        disk = harness.disk("plugged", content=content)
        await harness.printed(vm, f"ready{place}")
        await vm.attach_disk(disk)
        assert hashlib.sha256(content).hexdigest() in await harness.printed(vm, f"read{place}")
        await vm.detach_disk("plugged")
        written = disk.extents[0][0].read_bytes()
        assert written[512 * place : 512 * place + 1] == str(place).encode()
    await harness.printed(vm, "left")  # its end would be quicker than what is done for the last


# ----------------------------------------------------------------------------------------- interfaces


@contextmanager
def space() -> Iterator[TapSpace]:
    """Where taps are."""
    with TapSpace() as one, mock.patch.object(netns, "tap", one.tap):
        yield one


@case("tap", "plugs", "letters")
async def interfaces_come_and_go(harness: Harness) -> None:
    with space() as taps:
        vm = await harness.launch(UNPLUG, hotplug_slots=2)
        await vm.attach_nic(FIRST)
        await vm.attach_nic(SECOND)
        with pytest.raises(Unavailable):
            await vm.attach_nic(THIRD)
        await vm.detach_nic(FIRST.mac)
        with pytest.raises(NotFound):
            await vm.detach_nic(FIRST.mac)
        await vm.attach_nic(THIRD)
        assert taps.links() in (set(), {"tap1", "tap2"})  # the fake opens none
        await vm.kill()
        assert taps.links() == set()


@case("tap", "plugs", "letters")
async def an_interface_that_cannot_be_takes_no_slot(harness: Harness) -> None:
    with space():
        vm = await harness.launch(UNPLUG, hotplug_slots=2)
        await vm.attach_nic(FIRST)
        for taken in (FIRST.mac, harness.nic().mac):
            with pytest.raises(Conflict):
                await vm.attach_nic(replace(SECOND, mac=taken))
        with pytest.raises(NotSupported):
            await vm.attach_nic(replace(harness.nic(), mac=SECOND.mac))
        for name in ("", "a,b", "-a", "a" * 16):
            with pytest.raises(InvalidArgument):
                await vm.attach_nic(replace(SECOND, backend=Tap(KEEPER, name)))
        with pytest.raises(InvalidArgument):
            await vm.attach_nic(replace(SECOND, backend=Tap(Path("keeper.sock"), "tap1")))
        await vm.attach_nic(SECOND)
        with pytest.raises(NotFound):
            await vm.detach_nic(THIRD.mac)


@case("tap", "plugs")
async def a_vm_without_slots_takes_no_more_interfaces(harness: Harness) -> None:
    with space() as taps:
        vm = await harness.launch(hotplug_slots=0)
        with pytest.raises(Unavailable):
            await vm.attach_nic(FIRST)
        assert taps.links() == set()


@case("tap", "plugs", "linux")
async def a_guest_sees_an_interface_come_and_go(harness: LinuxHarness) -> None:
    leaves = (
        f"while grep -q {FIRST.mac} /sys/class/net/*/address; do usleep 50000; done; echo left; sleep 1000000"
    )
    with space():
        vm = await harness.launch(**harness.script(f"echo ready; nic {FIRST.mac}; echo came; {leaves}"))
        await harness.printed(vm, "ready")
        await vm.attach_nic(FIRST)
        await harness.printed(vm, "came")
        await vm.detach_nic(FIRST.mac)
        await harness.printed(
            vm, "left"
        )  # it stays: its end would be quicker than what is done for its device
