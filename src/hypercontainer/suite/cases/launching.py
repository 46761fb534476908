"""A VM begins as its specification says, or not at all."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, LaunchError, NotSupported
from hypercontainer.hypervisor.driver import ExitReason, VMRecord
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import DiskSpec, VMSpec
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import Harness
from hypercontainer.suite.linux import LinuxHarness


@case()
async def launch_gives_a_vm_that_its_record_describes(harness: Harness) -> None:
    vm = await harness.launch()
    assert vm.pid == vm.record.pid
    assert stat.S_IMODE(vm.record.run_dir.stat().st_mode) == 0o700
    assert VMRecord.from_json(json.loads(json.dumps(vm.record.to_json()))) == vm.record
    assert read_record(vm.record.run_dir) == vm.record
    assert vm.record.driver == harness.driver.name
    assert vm.record.accelerator is harness.accelerator


@case("process")
async def a_vm_that_is_a_process_is_one_until_it_has_ended(harness: Harness) -> None:
    vm = await harness.launch()
    identity = vm.record.identity
    assert identity is not None and identity.pid == vm.pid
    assert Path(f"/proc/{vm.pid}").exists()
    await vm.kill()
    assert not Path(f"/proc/{vm.pid}").exists()


@case("no process")
async def a_vm_that_is_no_process_is_named_by_what_is_foreign(harness: Harness) -> None:
    vm = await harness.launch()
    record = vm.record
    assert (vm.pid, record.start_ticks, record.identity) == (0, 0, None)
    assert record.helpers or not record.boot_id  # these are processes
    assert record.foreign
    assert record.driver in record.where


@case()
async def two_launches_at_once_are_two_vms(harness: Harness) -> None:
    first, second = await asyncio.gather(harness.launch(), harness.launch())
    assert not first.record.is_same(second.record)
    await first.kill()
    assert (await second.stats()).rss_bytes >= 0
    assert (await second.kill()).reason is ExitReason.HOST_KILL


NAMES = {
    "spaces": ("a name of words",),
    "markup": ("<a href='b'>&amp;]]>\"",),
    "shell": ("$(touch x); `y` | z & \\",),
    "commas": ("name=x,file=/etc/passwd,,",),
    "percent": ("%s %n %d {0}",),
    "other-letters": ("Zürich 東京 🐳",),
    "long": ("n" * 128,),
}


@case(params=NAMES)
async def a_vm_may_be_called_anything(harness: Harness, name: str) -> None:
    vm = await harness.launch(name=name)
    assert vm.record.name == name
    again = await harness.adopted(vm)
    assert again.record == vm.record
    assert (await again.kill()).reason is ExitReason.HOST_KILL


@case()
async def two_vms_may_have_one_name(harness: Harness) -> None:
    first, second = await harness.launch(name="one"), await harness.launch(name="one")
    await (await harness.adopted(first)).kill()
    again = await harness.adopted(second)
    assert (await again.kill()).reason is ExitReason.HOST_KILL


@case()
async def a_long_id_and_a_long_run_directory_are_no_problem(harness: Harness) -> None:
    """Also where a disk's name is made of it."""
    spec = harness.spec(disks=(harness.disk("d" * 20),))
    spec = replace(spec, id=spec.id + "x" * (64 - len(spec.id)))
    vm = harness.owned(await harness.driver.launch(spec))
    again = await harness.adopted(vm)
    assert (await again.kill()).reason is ExitReason.HOST_KILL


@case("foreign")
async def a_foreign_vm_of_the_same_name_is_not_touched(harness: Harness) -> None:
    spec = harness.spec()
    async with harness.foreign(spec.name):
        try:
            vm = harness.owned(await harness.driver.launch(spec))
        except HyperError as error:
            assert spec.name in str(error)
        else:
            await vm.close()
            await harness.another_driver().destroy(vm.record)


# ------------------------------------------------------------------------------ launches that fail


async def refused(harness: Harness, spec: VMSpec, *kinds: type[HyperError], word: str = "") -> HyperError:
    """The launch fails and leaves no run directory; whoever runs the case looks for the rest."""
    with pytest.raises(kinds or LaunchError) as caught:
        harness.owned(await harness.driver.launch(spec))
    assert not spec.run_dir.exists()
    assert word in str(caught.value), caught.value
    return caught.value


def changed(harness: Harness, **changes: Any) -> VMSpec:
    return replace(harness.spec(), **changes)


@case()
async def a_missing_kernel_is_named(harness: Harness) -> None:
    await refused(harness, changed(harness, kernel=harness.folder / "no-kernel"), word="no-kernel")


@case()
async def a_missing_initrd_is_named(harness: Harness) -> None:
    await refused(harness, changed(harness, initrd=harness.folder / "no-initrd"), word="no-initrd")


@case()
async def a_missing_disk_is_named(harness: Harness) -> None:
    for read_only in (False, True):
        disk = DiskSpec("gone", ((harness.folder / "gone.img", 512),), read_only)
        await refused(harness, changed(harness, disks=(disk,)), word="gone.img")


@case()
async def a_disk_that_is_shorter_than_it_is_said_to_be_is_named(harness: Harness) -> None:
    short = DiskSpec("short", ((harness.file("short", 512), 1024),), read_only=True)
    await refused(harness, changed(harness, disks=(short,)), word="short")


@case()
async def a_disk_that_is_a_folder_is_refused(harness: Harness) -> None:
    (harness.folder / "folder").mkdir()
    disk = DiskSpec("one", ((harness.folder / "folder", 512),), read_only=True)
    await refused(harness, changed(harness, disks=(disk,)))


@case("nat", params={"tcp": ("tcp", socket.SOCK_STREAM), "udp": ("udp", socket.SOCK_DGRAM)})
async def a_port_that_is_taken_is_named(harness: Harness, protocol: str, kind: int) -> None:
    port = harness.free_port()
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        nic = harness.nic(0, PortMapping(80, port, "127.0.0.1", protocol))
        await refused(harness, changed(harness, nics=(nic,)), word=str(port))


@case()
async def a_launch_that_failed_can_be_repeated(harness: Harness) -> None:
    disk = DiskSpec("one", ((harness.folder / "one.img", 1 << 20),), read_only=True)
    spec = changed(harness, disks=(disk,))
    await refused(harness, spec, word="one.img")
    harness.file("one.img")
    vm = harness.owned(await harness.driver.launch(spec))
    assert (await vm.kill()).reason is ExitReason.HOST_KILL


@case()
async def a_run_directory_of_somebody_else_is_left_alone(harness: Harness) -> None:
    spec = harness.spec()
    spec.run_dir.mkdir(parents=True)
    mine = spec.run_dir / "mine"
    mine.touch()
    with pytest.raises(LaunchError):
        await harness.driver.launch(spec)
    assert mine.exists()
    mine.unlink()
    spec.run_dir.rmdir()


@case()
async def a_vm_that_runs_keeps_its_run_directory_from_another(harness: Harness) -> None:
    vm = await harness.launch()
    with pytest.raises(LaunchError):
        await harness.driver.launch(harness.spec(run_dir=vm.record.run_dir))
    assert read_record(vm.record.run_dir) == vm.record
    assert (await vm.kill()).reason is ExitReason.HOST_KILL


@case(params={f"{delay_ms}ms": (delay_ms,) for delay_ms in (0, 5, 20, 60, 150)})
async def a_cancelled_launch_leaves_nothing(harness: Harness, delay_ms: int) -> None:
    spec = harness.spec(disks=(harness.disk("one"),))
    launching = asyncio.create_task(harness.driver.launch(spec))
    await asyncio.wait([launching], timeout=delay_ms / 1000)
    launching.cancel()
    result = (await asyncio.gather(launching, return_exceptions=True))[0]
    if isinstance(result, BaseException):
        assert isinstance(result, asyncio.CancelledError), result
    else:
        await harness.owned(result).kill()
    assert not spec.run_dir.exists()


NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "no-vcpus": ({"vcpus": 0}, "0 vCPUs"),
    "no-memory": ({"memory_mib": 0}, "0 MiB"),
    "id": ({"id": "../x"}, "../x"),
    "name": ({"name": "a\nb"}, "control"),
    "relative-run-dir": ({"run_dir": Path("run")}, "absolute"),
    "argument": ({"kernel_args": ("a\nb",)}, "control"),
    "many-arguments": ({"kernel_args": ("x" * 100_000,)}, "kernel arguments"),
    "slots": ({"hotplug_slots": -1}, "slots"),
}


@case(params=NONSENSE)
async def a_specification_that_makes_no_sense_is_the_callers_error(
    harness: Harness, changes: dict[str, Any], word: str
) -> None:
    spec = changed(harness, **changes)
    with pytest.raises(InvalidArgument, match=word.replace(".", r"\.")):
        await harness.driver.launch(spec)
    assert not spec.run_dir.exists() or not spec.run_dir.is_absolute()


@case()
async def disks_that_make_no_sense_are_the_callers_error(harness: Harness) -> None:
    good = harness.disk("one")
    for wrong, word in (
        ((good, good), "one disk each"),
        ((replace(good, serial="A,b"),), "serial"),
        ((replace(good, serial="x" * 21),), "serial"),
        ((replace(good, serial=""),), "serial"),
        ((replace(good, extents=()),), "extent"),
        ((replace(good, extents=((good.extents[0][0], 100),)),), "512"),
        ((replace(good, extents=((good.extents[0][0], 0),)),), "512"),
        ((replace(good, format="vhd"),), "vhd"),
    ):
        await refused(harness, changed(harness, disks=wrong), InvalidArgument, word=word)
    writable = replace(good, extents=good.extents * 2)
    await refused(harness, changed(harness, disks=(writable,)), NotSupported, word="read-only")


@case()
async def nics_that_make_no_sense_are_the_callers_error(harness: Harness) -> None:
    good = harness.nic()
    for wrong in ((good, good), (replace(good, mac="52:54:00"),), (replace(good, mac="52:54:00:12:34:5g"),)):
        await refused(harness, changed(harness, nics=wrong), InvalidArgument, word="MAC address")


@case("locks")
async def one_who_writes_to_a_disk_has_it_alone(harness: Harness) -> None:
    """For as long as its VM lives and not a moment longer."""
    disk = harness.disk("one", locked=True)
    first = await harness.launch(disks=(disk,))
    await refused(harness, changed(harness, disks=(disk,)), LaunchError, Conflict, word="one")
    await first.kill()
    await (await harness.launch(disks=(disk,))).kill()


# ------------------------------------------------------------------------------ as it was asked for


WORDS = (
    *("a=b", "plain", "comma=a,b,,c", "quote='x'", "back=\\\\x", "percent=%s%n", "dollar=$HOME$(id)`id`"),
    *("angle=<a>&amp;</a>", "semi=a;b|c", "star=*?[a]", "braces={a,b}", "tilde=~", "hash=#x", "paren=(x)"),
)


@case("linux")
async def kernel_arguments_arrive_to_the_letter(harness: LinuxHarness) -> None:
    guest = harness.script("cat /proc/cmdline")
    vm = await harness.launch(**guest | {"kernel_args": (*guest["kernel_args"], *WORDS)})
    words = harness.said(await vm.wait()).split()
    place = words.index(WORDS[0])
    assert tuple(words[place : place + len(WORDS)]) == WORDS


@case("linux")
async def a_long_command_line_arrives_whole(harness: LinuxHarness) -> None:
    more = tuple(f"word.n{number}=0123456789" for number in range(40))
    guest = harness.script("cat /proc/cmdline")
    vm = await harness.launch(**guest | {"kernel_args": (*guest["kernel_args"], *more)})
    assert [word for word in harness.said(await vm.wait()).split() if word in more] == [*more]


@case("linux")
async def memory_is_as_it_was_asked_for(harness: LinuxHarness) -> None:
    """Less what a kernel keeps for itself, and not more; by a megabyte where the driver takes any."""
    seen = []
    for memory_mib in (96, 192):
        kilobytes = await harness.says("grep MemTotal /proc/meminfo", memory_mib=memory_mib)
        seen.append(int(kilobytes.split()[1]) >> 10)
        assert memory_mib // 2 <= seen[-1] <= memory_mib
    assert 80 <= seen[1] - seen[0] <= 100


@case("linux")
async def a_guest_has_one_processor_that_asks_for_one(harness: LinuxHarness) -> None:
    assert await harness.says("nproc", vcpus=1) == "1"
