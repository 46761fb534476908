"""What every driver keeps; see ``hypercontainer.hypervisor.driver``.  Each test runs on the fake and on real ones."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import (
    Conflict,
    HypervisorError,
    InvalidArgument,
    LaunchError,
    NotFound,
    Unavailable,
)
from hypercontainer.hypervisor.driver import VM, ExitReason, VMRecord
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec
from nics import nat_nic

HALT, POWER_OFF, REBOOT, FLOOD, UNPLUG = "h", "s", "r", "f", "d"
BANNER = "test guest is up"
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


def to_port(port: int, protocol: str = "tcp") -> PortMapping:
    return PortMapping(80, port, "127.0.0.1", protocol)


def raw_file(path: Path, size: int = 1 << 20) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


async def printed(vm: VM, text: str = BANNER) -> None:
    """Returns once the guest has said so: there is no event for it, since nobody but a test waits for it."""
    async with asyncio.timeout(20):
        while text not in vm.console_tail():
            await asyncio.sleep(0.01)


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def test_launch_gives_a_running_vm_that_its_record_describes(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        assert Path(f"/proc/{vm.pid}").exists()
        assert stat.S_IMODE(vm.record.run_dir.stat().st_mode) == 0o700
        assert VMRecord.from_json(json.loads(json.dumps(vm.record.to_json()))) == vm.record
        assert read_record(vm.record.run_dir) == vm.record
        usage = await vm.stats()
        assert usage.cpu_ns >= 0
        assert usage.rss_bytes > 0

    run(test)


def test_kill_ends_the_vm_once(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        waiting = asyncio.create_task(vm.wait())
        ended = await vm.kill()
        assert ended.reason is ExitReason.HOST_KILL
        assert ended.exit_code == -9
        assert not vm.record.run_dir.exists()
        assert await waiting == await vm.wait() == await vm.kill() == ended

    run(test)


@pytest.mark.parametrize(
    ("guest", "reason"), [(POWER_OFF, ExitReason.GUEST_SHUTDOWN), (REBOOT, ExitReason.GUEST_RESET)]
)
def test_wait_tells_everybody_why_the_guest_ended(run: Run, guest: str, reason: ExitReason) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(guest)
        first, second = await asyncio.gather(vm.wait(), vm.wait())
        assert first == second
        assert (first.reason, first.stderr) == (reason, "")
        assert first.exit_code is not None
        assert first.exit_code >= 0
        assert BANNER in first.console
        assert vm.console_tail(10) == first.console[-10:]
        assert not vm.record.run_dir.exists()

    run(test)


def test_a_cancelled_waiter_leaves_the_vm_and_the_others_alone(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(POWER_OFF)
        other = asyncio.create_task(vm.wait())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await vm.wait()
        assert (await other).reason is ExitReason.GUEST_SHUTDOWN

    run(test)


def test_pause_and_resume_as_often_as_one_likes(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(POWER_OFF)
        assert not await vm.paused()
        await vm.pause()
        await vm.pause()
        assert await vm.paused()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await vm.wait()
        await vm.resume()
        await vm.resume()
        assert not await vm.paused()
        assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run(test)


def test_a_closed_vm_goes_on_and_is_adopted_with_its_console(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        await printed(vm)
        waiting = asyncio.create_task(vm.wait())
        await asyncio.sleep(0)
        await vm.close()
        await vm.close()
        with pytest.raises(HypervisorError):
            await waiting
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        assert again.pid == vm.pid
        assert BANNER in again.console_tail()
        await again.pause()
        assert (await again.kill()).reason is ExitReason.HOST_KILL

    run(test)


def test_an_adopted_vm_still_tells_why_its_guest_ended(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(POWER_OFF)
        await vm.close()
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        assert (await again.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run(test)


def test_a_paused_vm_is_adopted_paused_and_goes_on_when_it_is_told(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(POWER_OFF)
        await vm.connect_agent()
        await vm.pause()
        await vm.close()
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        assert await again.paused()
        _, writer = await again.connect_agent()  # a port is the hypervisor's, whatever its guest does
        writer.write(b"for later")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await again.wait()
        await again.resume()
        assert (await again.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run(test)


def test_a_vm_is_its_drivers_by_the_record_that_it_left(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        await vm.close()
        record = read_record(vm.record.run_dir)
        assert record is not None
        its, other = harness.another_driver(), SimpleNamespace(name="other")
        drivers = Drivers(other, its)
        assert drivers.default is other
        again = await drivers.of(record).adopt(record)
        assert again is not None
        assert again.pid == vm.pid
        await again.kill()
        with pytest.raises(Unavailable, match=rf"'{its.name}'.*other"):
            Drivers(other).of(record)

    run(test)


def test_limits_leave_the_guest_its_memory_and_its_time(run: Run) -> None:
    async def test(harness: Any) -> None:
        bare = harness.driver.limits(256, None, Accelerator.KVM)
        more = harness.driver.limits(256, 1.5, Accelerator.KVM, boot_files_bytes=1000, shares=1)
        assert (bare.cpus, more.cpus) == (None, 1.5)
        assert bare.memory_bytes >= 256 << 20
        assert more.memory_bytes >= bare.memory_bytes + 1000

    run(test)


def test_a_vm_that_is_gone_is_not_adopted(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        await vm.kill()
        vm.record.run_dir.mkdir(parents=True)  # what a daemon killed at the wrong moment leaves
        assert await harness.another_driver().adopt(vm.record) is None
        assert not vm.record.run_dir.exists()

    run(test)


def test_destroy_ends_a_vm_by_its_record_alone(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        await vm.close()
        await harness.another_driver().destroy(vm.record)
        await harness.another_driver().destroy(vm.record)
        assert not vm.record.run_dir.exists()
        assert await harness.another_driver().adopt(vm.record) is None

    run(test)


def test_the_agent_port_has_one_peer_and_the_newest_wins(run: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        first, _ = await vm.connect_agent()
        second, writer = await vm.connect_agent()
        assert await first.read() == b""
        writer.write(b"hello")
        await writer.drain()
        assert not second.at_eof()
        await vm.kill()
        with suppress(ConnectionResetError):  # what was not read is lost, which a socket may say like this
            assert await second.read() == b""
        with pytest.raises(HypervisorError):
            await vm.connect_agent()
        writer.close()

    run(test)


def test_forwards_come_and_go(run: Run, free_port: int) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        forward = to_port(free_port)
        assert not reachable(free_port)
        await vm.add_forward(forward)
        assert reachable(free_port)
        with pytest.raises(Unavailable, match=str(free_port)):
            await vm.add_forward(forward)
        await vm.remove_forward(forward)
        assert not reachable(free_port)
        with pytest.raises(NotFound):
            await vm.remove_forward(forward)
        await vm.add_forward(to_port(free_port, "udp"))
        await vm.remove_forward(to_port(free_port, "udp"))

    run(test)


def test_a_forward_leads_to_the_nic_that_it_names(run: Run, free_port: int) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(nics=(nat_nic(), nat_nic(mac="52:54:00:12:34:57")))
        port = to_port(free_port)
        await vm.add_forward(port, nic=1)
        assert reachable(free_port)
        with pytest.raises(NotFound):
            await vm.remove_forward(port, nic=0)
        await vm.remove_forward(port, nic=1)
        assert not reachable(free_port)
        with pytest.raises(Unavailable, match=str(free_port)):
            await vm.add_forward(port, nic=2)

    run(test)


def test_a_forward_of_the_specification_is_there_from_the_start(run: Run, free_port: int) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(nics=(nat_nic(to_port(free_port)),))
        assert reachable(free_port)
        await vm.kill()
        assert not reachable(free_port)

    run(test)


def test_disks_are_plugged_in_and_out(run: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        one, two = raw_file(tmp_path / "one"), raw_file(tmp_path / "two", 2 << 20)
        root = DiskSpec("root", ((one, 1 << 20),), read_only=False)
        layers = DiskSpec("layers", ((two, 1 << 20), (two, 2 << 20)), read_only=True)
        vm = await harness.launch(UNPLUG, disks=(root,))
        await printed(vm)
        await vm.attach_disk(layers)
        with pytest.raises(Conflict):
            await vm.attach_disk(layers)
        with pytest.raises(NotFound):
            await vm.detach_disk("nothing")
        await vm.close()
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        await again.detach_disk("layers")
        await again.attach_disk(layers)
        await again.attach_disk(replace(layers, serial="more"))
        with pytest.raises(Unavailable, match="slot"):
            await again.attach_disk(replace(layers, serial="too-many"))
        await again.detach_disk("layers")
        await again.attach_disk(replace(layers, serial="in-its-place"))
        await again.kill()

    run(test)


def test_a_disk_grows_with_its_file(run: Run, tmp_path: Path) -> None:
    """Also for the next one who holds the VM; what was told its size, or is not there, does not."""

    async def test(harness: Any) -> None:
        first, later = raw_file(tmp_path / "first"), raw_file(tmp_path / "later")
        disks = [
            DiskSpec(each.name, ((each, 1 << 20),), read_only=False, grows=True) for each in (first, later)
        ]
        vm = await harness.launch(disks=(disks[0],))
        await vm.attach_disk(disks[1])
        for each in (first, later):
            os.truncate(each, 2 << 20)
            await vm.grow_disk(each.name, 2 << 20)
        with pytest.raises(NotFound):
            await vm.grow_disk("nothing", 2 << 20)
        await vm.close()
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        os.truncate(first, 4 << 20)
        await again.grow_disk("first", 4 << 20)
        assert first.stat().st_size == 4 << 20
        await again.kill()

    run(test)


def test_a_vm_without_slots_takes_no_more_disks(run: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        disk = DiskSpec("one", ((raw_file(tmp_path / "one"), 1 << 20),), read_only=True)
        vm = await harness.launch(hotplug_slots=0)
        with pytest.raises(Unavailable, match="slots"):
            await vm.attach_disk(disk)

    run(test)


def test_a_guest_that_keeps_a_disk_is_an_error_and_not_a_hang(run: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        if harness.driver.name == "uml":
            pytest.skip("its kernel gives up a disk that nobody has open")
        vm = await harness.launch(HALT)
        await printed(vm)
        await vm.attach_disk(DiskSpec("one", ((raw_file(tmp_path / "one"), 1 << 20),), read_only=True))
        with pytest.raises(HypervisorError, match="one"):
            await vm.detach_disk("one", timeout_s=0.1)

    run(test)


def test_an_attachment_that_fails_can_be_repeated(run: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        disk = DiskSpec("one", ((tmp_path / "one", 1 << 20),), read_only=True)
        with pytest.raises(HypervisorError, match="one"):
            await vm.attach_disk(disk)
        raw_file(tmp_path / "one")
        await vm.attach_disk(disk)

    run(test)


def test_a_read_only_disk_is_shared_and_a_console_flood_is_bounded(run: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        disk = DiskSpec("base", ((raw_file(tmp_path / "base"), 1 << 20),), read_only=True)
        first = await harness.launch(FLOOD, disks=(disk,))
        second = await harness.launch(disks=(disk,))
        await printed(first, "x" * 60000)
        size = sum(file.stat().st_size for file in first.record.run_dir.iterdir())
        assert size < 80_000
        assert len(first.console_tail()) <= 65536
        assert len(first.console_tail(100)) == 100
        assert len((await first.kill()).console) <= 65536
        await second.kill()

    run(test)


async def refused(harness: Any, **changes: Any) -> LaunchError:
    """The launch fails and leaves no run directory; the fixture looks for the rest."""
    spec = harness.spec(**changes)
    with pytest.raises(LaunchError) as caught:
        await harness.driver.launch(spec)
    assert not spec.run_dir.exists()
    return caught.value


def test_failed_launches_name_the_cause_and_leave_nothing(run: Run, tmp_path: Path, free_port: int) -> None:
    async def test(harness: Any) -> None:
        short = DiskSpec("short", ((raw_file(tmp_path / "short", 512), 1024),), read_only=True)
        missing = DiskSpec("gone", ((tmp_path / "gone.img", 512),), read_only=False)
        assert "no-kernel" in str(await refused(harness, kernel=tmp_path / "no-kernel"))
        assert "no-initrd" in str(await refused(harness, initrd=tmp_path / "no-initrd"))
        assert "gone.img" in str(await refused(harness, disks=(missing,)))
        assert "short" in str(await refused(harness, disks=(short,)))
        with socket.create_server(("127.0.0.1", free_port)):
            await refused(harness, nics=(nat_nic(to_port(free_port)),))

    run(test)


def test_a_run_directory_of_somebody_else_is_left_alone(run: Run) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec()
        spec.run_dir.mkdir(parents=True)
        mine = spec.run_dir / "mine"
        mine.touch()
        with pytest.raises(LaunchError):
            await harness.driver.launch(spec)
        assert mine.exists()
        mine.unlink()
        spec.run_dir.rmdir()

    run(test)


def test_a_specification_that_makes_no_sense_is_the_callers_error(run: Run) -> None:
    async def test(harness: Any) -> None:
        with pytest.raises(InvalidArgument, match="0 vCPUs"):
            await harness.driver.launch(harness.spec(vcpus=0))

    run(test)


def test_probe_and_diagnose_answer(run: Run) -> None:
    async def test(harness: Any) -> None:
        verdict = await harness.driver.probe(harness.accelerator, harness.probed)
        assert verdict.usable, verdict
        checks = await harness.driver.diagnose()
        assert checks
        assert all(check.ok is not False for check in checks), checks
        assert harness.accelerator in (await harness.driver.capabilities()).accelerators

    run(test)
