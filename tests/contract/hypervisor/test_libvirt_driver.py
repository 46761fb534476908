"""What only libvirt has: others who manage it, and a libvirtd that restarts, hangs or is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harnesses import linux_image
from hypercontainer.errors import (
    Conflict,
    HyperError,
    HypervisorError,
    InvalidArgument,
    LaunchError,
    NotFound,
    Unavailable,
)
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.libvirt import starting
from hypercontainer.hypervisor.libvirt.driver import LibvirtDriver
from hypercontainer.hypervisor.libvirt.settings import Asked
from hypercontainer.hypervisor.spec import DiskSpec, Existing, Nic
from libvirt_bed import LibvirtBed

pytestmark = pytest.mark.vm

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
Linux = Callable[..., dict[str, Any]]
USER = 2  # bin: one whom the system knows, for libvirt asks who that is
POWER_OFF, HALT = "s", "h"
BANNER = "test guest is up"
NETWORK = """
<network><name>pods</name><bridge name='virbr7'/><ip address='192.168.177.1' netmask='255.255.255.0'>
<dhcp><range start='192.168.177.2' end='192.168.177.127'/></dhcp></ip></network>"""


async def printed(vm: VM, text: str = BANNER) -> None:
    async with asyncio.timeout(30):
        while text not in vm.console_tail():
            await asyncio.sleep(0.01)


def test_a_foreign_vm_of_the_same_name_is_left_alone(run_libvirt: Run) -> None:
    async def test(harness: Any) -> None:
        async with harness.foreign("theirs"):
            spec = harness.spec(name="theirs")
            with pytest.raises(Conflict, match="'theirs' already exists"):
                await harness.driver.launch(spec)
            assert not spec.run_dir.exists()
            await harness.another_driver().link.greeting()  # who sweeps what is nobody's
            assert harness.bed.domains() == ["theirs"]

    run_libvirt(test)


def test_others_who_manage_libvirt_see_the_vm_and_may_end_it(run_libvirt: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(name="web")
        assert "Hyper: web" in harness.bed.virsh("list", "--title").stdout
        assert harness.bed.virsh("domuuid", "web").stdout.strip() == vm.record.foreign["uuid"]
        harness.bed.virsh("suspend", "web")
        assert await vm.paused()
        harness.bed.virsh("resume", "web")
        assert not await vm.paused()
        harness.bed.virsh("destroy", "web")
        ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH
        assert "somebody else" in ended.stderr

    run_libvirt(test)


def test_a_qemu_that_is_killed_has_crashed(run_libvirt: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        os.kill(vm.pid, signal.SIGKILL)
        ended = await vm.wait()
        assert (ended.reason, ended.stderr) == (ExitReason.CRASH, "")

    run_libvirt(test)


def test_a_vm_outlives_its_libvirtd(run_libvirt: Run, tmp_path: Path) -> None:
    """While there is none, what needs it says so; what does not, works; and the next one has the VM again."""

    async def test(harness: Any) -> None:
        disk = DiskSpec("one", ((raw(tmp_path / "one"), 1 << 20),), read_only=True)
        vm, other = await harness.launch(), await harness.launch()
        await printed(vm)
        harness.bed.kill()
        try:
            await vm.connect_agent()
            assert (await vm.stats()).rss_bytes > 0
            with pytest.raises(Unavailable, match="libvirt"):
                await vm.attach_disk(disk)
            with pytest.raises(LaunchError, match="libvirt"):
                await harness.launch()
            assert (await other.kill()).reason is ExitReason.HOST_KILL
            adopting = harness.another_driver()
            await vm.close()
            again = await adopting.adopt(vm.record)
            assert again is not None
        finally:
            harness.bed.start()
        async with asyncio.timeout(20):
            while not adopting.link.up:
                await asyncio.sleep(0.05)
        await again.attach_disk(disk)
        assert harness.bed.domains() == [vm.record.name]
        assert (await again.kill()).reason is ExitReason.HOST_KILL

    run_libvirt(test)


def test_a_guest_tells_why_it_ended_after_a_restart_of_libvirtd(run_libvirt: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(POWER_OFF)
        await vm.pause()
        harness.bed.kill(signal.SIGTERM)
        harness.bed.start()
        async with asyncio.timeout(20):
            while not harness.driver.link.up:
                await asyncio.sleep(0.05)
        await vm.resume()
        assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run_libvirt(test)


def test_a_libvirtd_that_hangs(run_libvirt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a launch: that fails in time, and what libvirtd makes of it later is ended."""

    async def test(harness: Any) -> None:
        vm = await harness.launch()
        monkeypatch.setattr(starting, "CREATE_S", 0.5)
        monkeypatch.setattr(starting, "UNDO_S", 0.5)
        harness.bed.signal(signal.SIGSTOP)
        try:
            with pytest.raises(LaunchError, match="did not answer within"):
                await harness.launch()
            begun = time.monotonic()
            with pytest.raises(HypervisorError):
                await vm._monitor.execute("query-status", timeout_s=0.3)
            assert time.monotonic() - begun < 5
            assert (await vm.stats()).rss_bytes > 0
        finally:
            harness.bed.signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            while harness.bed.domains() != [vm.record.name]:
                await asyncio.sleep(0.05)
        assert not await vm.paused()

    run_libvirt(test)


def test_a_launch_that_is_cancelled_leaves_nothing(run_libvirt: Run) -> None:
    async def test(harness: Any) -> None:
        for seconds in (0.0, 0.05, 0.3, 0.6):
            spec = harness.spec()
            launching = asyncio.create_task(harness.driver.launch(spec))
            await asyncio.wait([launching], timeout=seconds)
            launching.cancel()
            await asyncio.wait([launching])
            if not launching.cancelled() and launching.exception() is None:
                await launching.result().kill()
            assert not spec.run_dir.exists()
        assert harness.bed.domains() == []

    run_libvirt(test)


def test_what_libvirt_refuses(run_libvirt: Run) -> None:
    """Each says what, and leaves nothing."""

    async def test(harness: Any) -> None:
        with pytest.raises(InvalidArgument, match="too long for the sockets"):
            await harness.launch(run_dir=harness.bed.folder / "r" / ("x" * 90))
        folder = harness.bed.folder
        for asked, words in (
            (Asked(harness.bed.uri, pool="nowhere"), "storage pool nowhere"),
            (Asked("qemu+unix:///system?socket=/nowhere/sock"), "/nowhere/sock"),
            (Asked(harness.bed.uri, network="nowhere"), "network with matching name 'nowhere'"),
        ):
            driver = LibvirtDriver("other", asked, Host(folder / "facts.json", folder / "other"))
            kernel = harness.spec().kernel
            nics = (Nic("52:54:00:12:34:59", Existing("nowhere")),) if asked.network else ()
            spec = harness.spec(kernel=kernel, nics=nics)
            with pytest.raises(HyperError, match=words):
                await driver.launch(spec)
            assert not spec.run_dir.exists()
            await driver.link.close()
        with pytest.raises(Unavailable, match="no network"):
            await harness.driver.lan()

    run_libvirt(test)


def test_a_network_that_libvirt_has(run_libvirt: Run, tmp_path: Path, linux: Linux) -> None:
    """Its guest, with an address that is for pods, reaches who else is there; and it cannot be had once it is gone."""
    script = (
        "for nic in $(ls /sys/class/net); do [ $nic = lo ] || break; done; ip link set $nic up; "
        "ip addr add 192.168.177.200/24 dev $nic; "
        "until ping -c 1 -w 1 192.168.177.1 >/dev/null; do :; done; echo met >/dev/console; sleep 1000000"
    )

    async def test(harness: Any) -> None:
        xml = tmp_path / "network.xml"
        xml.write_text(NETWORK)
        made = harness.bed.virsh("net-create", str(xml))
        assert made.returncode == 0, made.stderr
        folder = harness.bed.folder
        asked = Asked(harness.bed.uri, network="pods")
        driver = LibvirtDriver("libvirt", asked, Host(folder / "facts.json", folder / "state"))
        try:
            assert "existing" in (await driver.capabilities()).nics
            lan = await driver.lan()
            assert (lan.subnet.ip_range, lan.subnet.gateway) == ("192.168.177.128/25", "192.168.177.1")
            nic = Nic("52:54:00:12:34:59", Existing("pods"))
            vm = await driver.launch(harness.spec(nics=(nic,), **linux(script)))
            try:
                await printed(vm, "met")
                assert nic.mac in harness.bed.virsh("domiflist", vm.record.name).stdout
            finally:
                await vm.kill()
            harness.bed.virsh("net-destroy", "pods")
            with pytest.raises(NotFound, match="pods"):
                await driver.lan()
        finally:
            harness.bed.virsh("net-destroy", "pods")
            await driver.link.close()

    run_libvirt(test)


def raw(path: Path, size: int = 1 << 20) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


# Begun by root, who can read our Python; what is imported later has to be there by then.
SESSION = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.libvirt import library
from hypercontainer.hypervisor.libvirt.driver import LibvirtDriver
from hypercontainer.hypervisor.libvirt.settings import Asked
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.suite.nics import nat_nic

async def main(uri, folder):
    folder = Path(folder)
    driver = LibvirtDriver("libvirt", Asked(uri), Host(folder / "facts.json", folder / "state"))
    kernel = folder / "kernel"
    spec = VMSpec("session", "session", folder / "r", kernel, None, ("s",), 16, 1, nics=(nat_nic(),))
    vm = await driver.launch(spec)
    ended = await vm.wait()
    print(ended.reason, len(list(folder.glob("r*"))))

library.load()
user = int(sys.argv[3])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
asyncio.run(main(*sys.argv[1:3]))
"""


def test_a_session_of_an_ordinary_user() -> None:
    """Without root, and without a daemon of the system's."""
    if os.geteuid() != 0:
        pytest.skip("it becomes the user")
    with LibvirtBed(uid=USER) as bed:
        folder = bed.folder / "user"
        (folder / "kernel").write_bytes(linux_image())
        command = [sys.executable, "-c", SESSION, bed.uri, str(folder), str(USER)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert ended.stdout == "guest-shutdown 0\n", ended.stderr
        assert bed.domains() == []
