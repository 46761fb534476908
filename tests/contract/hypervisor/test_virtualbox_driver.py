"""What the driver of VirtualBox keeps, on the real one: Debian's of sid, in a root of its own, without a kernel module.

Its guests are some hundred bytes that a BIOS starts from a disc (``pc_guest``); each takes some seconds, most of them
its window's.  So a VM is asked more than one thing here.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import virtualbox_bed
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, HypervisorError, LaunchError, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.driver import VM, ExitReason, VMRecord
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Existing, Nic
from hypercontainer.hypervisor.virtualbox import vmdk
from hypercontainer.hypervisor.virtualbox.manage import Manage
from hypercontainer.hypervisor.virtualbox.places import VirtualBoxRunDir
from hypercontainer.linux.waiting import both
from hypercontainer.suite.harness import BANNER, HALT, MEBIBYTE, POWER_OFF, REBOOT
from hypercontainer.suite.leftovers import content, state
from hypercontainer.suite.nics import MAC, nat_nic
from hypercontainer.suite.running import nothing_left, with_harness
from until import until
from virtualbox_bed import VirtualBoxBed
from virtualbox_harness import VirtualBoxHarness

TRIPLE, FILL = "t", "w"  # of pc_guest's own
TIMEOUT_S = 150.0

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoxBed]:
    with virtualbox_bed.standing(tmp_path_factory.mktemp("vb")) as one:
        yield one


Test = Callable[[VirtualBoxHarness], Awaitable[None]]


def run(bed: VirtualBoxBed, folder: Path, test: Test) -> None:
    with nothing_left(folder):
        run_with_another_server(bed, folder, test)


def run_with_another_server(bed: VirtualBoxBed, folder: Path, test: Test) -> None:
    """Than the one before, which is a process of ours."""
    with_harness(partial(VirtualBoxHarness, bed), folder, test, timeout_s=TIMEOUT_S)
    assert not [*(folder / "run").glob("*")]


async def printed(vm: VM, text: str) -> None:
    async with asyncio.timeout(60):
        while text not in vm.console_tail():
            await asyncio.sleep(0.02)


def raw_file(path: Path, size: int = MEBIBYTE) -> Path:
    with path.open("wb") as file:
        file.write(path.name.encode().ljust(8))
        file.truncate(size)
    return path


def disk(path: Path, **changes: Any) -> DiskSpec:
    return replace(DiskSpec(path.name, ((path, path.stat().st_size),), read_only=False), **changes)


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def port_to(port: int, protocol: str = "tcp") -> PortMapping:
    return PortMapping(80, port, "127.0.0.1", protocol)


async def said(vm: VM, words: bytes) -> bytes:
    """Back by the guest."""
    reader, writer = await vm.connect_agent()
    writer.write(words)
    async with asyncio.timeout(20):
        return await reader.readexactly(len(words))


def test_a_guest_runs_is_adopted_and_ended(bed: VirtualBoxBed, tmp_path: Path, free_port: int) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        one, two = raw_file(tmp_path / "one"), raw_file(tmp_path / "two")
        layers = DiskSpec("layers", ((two, MEBIBYTE), (one, 512)), read_only=True)
        vm = await harness.launch(disks=(disk(one, locked=True), layers), nics=(nat_nic(port_to(free_port)),))
        assert VMRecord.from_json(json.loads(json.dumps(vm.record.to_json()))) == vm.record
        assert read_record(vm.record.run_dir) == vm.record
        await printed(vm, "D00two     0c\n")  # 0c: what is read-only is not written to
        assert vm.console_tail() == f"{BANNER}\nD00one     00\nD00two     0c\n"
        assert one.read_bytes()[1024:1028] == b"WAT!"
        assert not any(two.read_bytes()[8:])
        with one.open("rb") as file:
            assert locks.taken(file.fileno(), read_only=True)
        assert reachable(free_port)
        assert f'"hyper-{vm.record.id}"' in harness.bed.manage("list", "runningvms")
        identity = vm.record.foreign["uuid"]
        assert harness.bed.manage("getextradata", identity, "hyper/id").strip() == f"Value: {vm.record.id}"
        usage = await vm.stats()
        assert usage.cpu_ns > 0
        assert usage.rss_bytes > 0
        assert await said(vm, b"hello") == b"hello"
        await pauses(vm)
        await vm.close()
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        assert again.console_tail().startswith(BANNER)
        assert await said(again, b"there") == b"there"
        first, _ = await again.connect_agent()
        assert await said(again, b"again") == b"again"
        assert await first.read() == b""
        with pytest.raises(NotSupported, match="has no disks that are plugged in"):
            await again.attach_disk(layers)
        ended = await again.kill()
        assert ended.reason is ExitReason.HOST_KILL
        assert await again.kill() == await again.wait() == ended
        assert not again.record.run_dir.exists()
        assert not reachable(free_port)
        with pytest.raises(HypervisorError):
            await again.connect_agent()
        assert await harness.another_driver().adopt(again.record) is None

    run(bed, tmp_path, test)


async def pauses(vm: VM) -> None:
    assert not await vm.paused()
    for _ in range(2):
        await vm.pause()
    assert await vm.paused()
    for _ in range(2):
        await vm.resume()
    assert not await vm.paused()


def test_why_a_guest_ended_and_that_its_ports_come_and_go(
    bed: VirtualBoxBed, tmp_path: Path, free_port: int
) -> None:
    async def ended(harness: VirtualBoxHarness, guest: str) -> ExitReason:
        vm = await harness.launch(guest)
        last = await vm.wait()
        assert last.console.startswith(BANNER)
        assert last.stderr == ""
        assert not vm.record.run_dir.exists()
        return last.reason

    async def test(harness: VirtualBoxHarness) -> None:
        first = asyncio.create_task(ended(harness, POWER_OFF))
        vm = await harness.launch(HALT, nics=(nat_nic(), nat_nic(mac="52:54:00:12:34:57")))
        assert await first is ExitReason.GUEST_SHUTDOWN
        others = asyncio.create_task(both(ended(harness, REBOOT), ended(harness, TRIPLE)))
        port = port_to(free_port)
        await vm.add_forward(port, nic=1)
        assert reachable(free_port)
        for nic in (0, 1, 2):
            with pytest.raises(Unavailable, match=str(free_port)):
                await vm.add_forward(port, nic=nic)
        with pytest.raises(NotFound):
            await vm.remove_forward(port, nic=0)
        await vm.remove_forward(port, nic=1)
        assert not reachable(free_port)
        with pytest.raises(NotFound):
            await vm.remove_forward(port, nic=1)
        await vm.add_forward(port_to(free_port, "udp"))
        await vm.remove_forward(port_to(free_port, "udp"))
        assert await others == (ExitReason.GUEST_RESET,) * 2
        harness.bed.manage("controlvm", vm.record.foreign["uuid"], "poweroff")  # by somebody else
        assert (await vm.wait()).reason is ExitReason.CRASH

    run(bed, tmp_path, test)


async def refused(harness: VirtualBoxHarness, **changes: Any) -> str:
    spec = harness.spec(**changes)
    with pytest.raises(LaunchError) as caught:
        await harness.driver.launch(spec)
    assert not spec.run_dir.exists()
    assert not await harness.leftovers()
    return str(caught.value)


def test_failed_starts_say_why_and_leave_nothing(bed: VirtualBoxBed, tmp_path: Path, free_port: int) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        short = DiskSpec("short", ((raw_file(tmp_path / "short", 512), 1024),), read_only=True)
        gone = DiskSpec("gone", ((tmp_path / "gone.img", 512),), read_only=False)
        assert "no-kernel" in await refused(harness, kernel=tmp_path / "no-kernel")
        assert "gone.img" in await refused(harness, disks=(gone,))
        assert "short" in await refused(harness, disks=(short,))
        with (taken := raw_file(tmp_path / "taken")).open("r+b") as file:
            locks.take(file.fileno(), read_only=False)
            with pytest.raises(Conflict):
                await refused(harness, disks=(disk(taken, locked=True),))
        with socket.create_server(("127.0.0.1", free_port)):
            assert str(free_port) in await refused(harness, nics=(nat_nic(port_to(free_port)),))
        assert "nodevice" in await refused(harness, nics=(Nic(MAC, Existing("bridged:nodevice")),))
        # This one finds the VM's process, as it starts, and its window waits for somebody who reads that.
        assert "Cannot attach to 'lab'" in await refused(harness, nics=(Nic(MAC, Existing("intnet:lab")),))

    run(bed, tmp_path, test)


def test_what_a_killed_hyperd_has_begun_is_found_and_what_is_not_ours_left(
    bed: VirtualBoxBed, tmp_path: Path
) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        vm = await harness.launch(HALT)
        await vm.close()
        unwritten = replace(
            vm.record, pid=0, start_ticks=0, boot_id=""
        )  # killed before it had written its PID
        async with harness.foreign(f"hyper-{vm.record.id}") as identity:
            theirs = replace(unwritten, foreign={"uuid": identity}, run_dir=tmp_path / "run" / "theirs")
            await harness.another_driver().destroy(theirs)
            assert await harness.another_driver().adopt(unwritten) is None
            assert await harness.leftovers() == [f'"hyper-{vm.record.id}" {{{identity}}}']
        installation, waits = (
            harness.bed.installation,
            ("guestproperty", "wait", vm.record.foreign["uuid"], "/n"),
        )
        command = [installation.manage, *waits]
        with subprocess.Popen(command, env=installation.environment, stdout=subprocess.DEVNULL) as under_way:
            begun = Path(f"/proc/{under_way.pid}")
            until(lambda: b"guestproperty" in content(begun / "cmdline"), "it is under way")
            await harness.another_driver().destroy(unwritten)
            assert state(begun) in ("", "Z")

    run(bed, tmp_path, test)


def test_media_are_closed_that_a_killed_hyperd_had_not(bed: VirtualBoxBed, tmp_path: Path) -> None:
    """It had unregistered the VM."""

    async def test(harness: VirtualBoxHarness) -> None:
        spec, identity, manage = harness.spec(), str(uuid.uuid4()), harness.bed.manage
        place = VirtualBoxRunDir(spec.run_dir, spec.id)
        place.create()
        place.disks.mkdir()
        place.boot.write_bytes(spec.kernel.read_bytes())
        kind = ("--platform-architecture", "x86", "--basefolder", str(tmp_path / "vms"), "--register")
        manage("createvm", "--name", spec.name, "--uuid", identity, *kind)
        manage("storagectl", identity, "--name", "one", "--add", "sata", "--portcount", "2")
        where = ("storageattach", identity, "--storagectl", "one", "--device", "0")
        manage(*where, "--port", "0", "--type", "dvddrive", "--medium", str(place.boot))
        one = disk(raw_file(tmp_path / "one"))
        descriptor = place.descriptor(one.serial)
        descriptor.write_bytes(vmdk.descriptor(one, uuid.uuid4()))
        place.descriptor("two").write_bytes(b"# Disk")  # as far as it got
        for medium in (str(descriptor), "none"):
            manage(*where, "--port", "1", "--type", "hdd", "--medium", medium)
        manage("unregistervm", identity)
        left = "\n".join(await harness.leftovers())
        assert str(place.boot) in left and str(descriptor) in left
        record = VMRecord(
            "virtualbox", spec.id, spec.name, spec.run_dir, Accelerator.OWN, foreign={"uuid": identity}
        )
        await harness.another_driver().destroy(record)

    run(bed, tmp_path, test)


def test_a_vm_whose_settings_are_gone_is_forgotten(bed: VirtualBoxBed, tmp_path: Path) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        vm = await harness.launch(HALT)
        await vm.close()
        os.kill(vm.pid, signal.SIGKILL)
        with harness.bed.unserved():
            shutil.rmtree(vm.record.run_dir)
        assert await harness.leftovers() == [f'"<inaccessible>" {{{vm.record.foreign["uuid"]}}}']
        assert await harness.another_driver().adopt(vm.record) is None

    run_with_another_server(bed, tmp_path, test)


def test_a_server_that_hangs_or_dies_is_an_error_and_no_hang(bed: VirtualBoxBed, tmp_path: Path) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        vm = await harness.launch(HALT)
        await printed(vm, BANNER)
        manage = Manage(harness.bed.installation)
        harness.bed.server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(HypervisorError, match=r"did not end within 0\.5 s"):
                await manage.run("list", "vms", timeout_s=0.5)
        finally:
            harness.bed.server.send_signal(signal.SIGCONT)
        with harness.bed.unserved(signal.SIGKILL):
            pass
        ended = await vm.kill()
        assert ended.reason is ExitReason.HOST_KILL

    run_with_another_server(bed, tmp_path, test)


def test_a_guest_waits_where_its_host_is_full(bed: VirtualBoxBed, tmp_path: Path) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        folder = tmp_path / "small"
        folder.mkdir()
        with harness.bed.unserved():
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], check=True)
        try:
            vm = await harness.launch(FILL, disks=(disk(raw_file(folder / "disk", 8 * MEBIBYTE)),))
            told: list[bool] = []
            full = asyncio.Event()

            def heard(is_full: bool) -> None:
                told.append(is_full)
                full.set()

            vm.on_stall(heard)
            await full.wait()
            assert told == [True]
            assert not await vm.paused()
            full.clear()
            subprocess.run(["mount", "-o", "remount,size=16m", str(folder)], check=True)
            await full.wait()
            assert told == [True, False]
            await printed(vm, "|")
            assert "!" not in vm.console_tail()
            await vm.kill()
        finally:
            with harness.bed.unserved():
                subprocess.run(["umount", "-l", str(folder)], check=True)

    run_with_another_server(bed, tmp_path, test)


def test_it_says_what_it_can_do(bed: VirtualBoxBed, tmp_path: Path) -> None:
    async def test(harness: VirtualBoxHarness) -> None:
        able = await harness.driver.capabilities()
        assert able.version.startswith("7.")
        assert (await harness.driver.probe(Accelerator.OWN)).usable
        assert not (await harness.driver.probe(Accelerator.KVM)).usable
        assert all(check.ok is not False for check in await harness.driver.diagnose())

    run(bed, tmp_path, test)
