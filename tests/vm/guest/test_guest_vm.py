"""The VM as a whole: what makes it this one, disks that come later, its end."""

from __future__ import annotations

import asyncio
import errno
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from guest_machine import (
    Machine,
    RunScenario,
    Scenario,
    Session,
    container_plan,
    ext4,
    machine,
    process_plan,
    vm_config,
)
from hypercontainer.agent.operations import Disk, Interface, Sysctl
from hypercontainer.errors import AgentError, GuestError
from hypercontainer.kernel import command_line

pytestmark = pytest.mark.vm

MAC = bytes.fromhex("525400123456")
UPPER = Disk("upper", "ext4")


async def start(session: Session, name: str = "c", process: int = 1, *args: str, **changes: Any) -> None:
    await session.agent.create_container(container_plan(name, **changes))
    await session.agent.start_process(process_plan(name, process, *(args or ("sleep", "1000")), init=True))


async def sh(session: Session, script: str) -> str:
    status, text = await session.run("c", "sh", "-c", script)
    assert status == 0, text
    return text


async def refused(session: Session) -> None:
    """Of a configuration, what is none."""
    for changes, number in (
        ({"interfaces": (Interface(MAC, "eth0", ("10.0.2.300/24",)),)}, errno.EINVAL),
        ({"interfaces": (Interface(MAC, "eth0", ("10.0.2.3",)),)}, errno.EINVAL),
        ({"sysctls": (Sysctl("net.no.such", "1"),)}, errno.ENOENT),
    ):
        with pytest.raises(GuestError) as caught:
            await session.agent.configure(vm_config(**changes))
        assert caught.value.errno == number
    for text in ("10.8.0.0", "10.8.0.0/33", "10.8.0.0/16 ", "10.8.0.0/16 x", "10.8.0.0/16 fd00::2", ""):
        with pytest.raises(GuestError) as caught:
            await session.agent.configure(vm_config(interfaces=(Interface(MAC, "eth0", routes=(text,)),)))
        assert caught.value.errno == errno.EINVAL


async def configuration(vm: Machine, session: Session) -> None:
    routes = ("10.7.0.1/32", "10.8.0.0/16 10.7.0.1", "fd08::/64 fd00::2", "10.0.2.0/24 10.0.2.2")
    eth0 = Interface(
        MAC, "eth0", ("10.0.2.15/24", "fd00::15/64"), ("10.0.2.2", "fd00::2"), mtu=1400, routes=routes
    )
    when_ns = 1_900_000_000 * 10**9
    await session.agent.configure(
        vm_config(
            hostname="somehost",
            domainname="example",
            time_ns=when_ns,
            interfaces=(eth0,),
            sysctls=(Sysctl("net.ipv4.ip_forward", "1"), Sysctl("net.ipv4.conf.eth0.forwarding", "0")),
        )
    )
    await start(session)
    text = await sh(session, "hostname; cat /proc/sys/kernel/domainname; cat /proc/sys/net/ipv4/ip_forward")
    assert text == "somehost\nexample\n1\n"
    assert 0 <= int(await sh(session, "date +%s")) - when_ns // 10**9 < 60
    text = await sh(session, "ip addr; ip route; ip -6 route")
    for words in (
        "mtu 1400",
        "10.0.2.15/24 brd 10.0.2.255",
        "fd00::15/64",
        "127.0.0.1/8",
        "52:54:00:12:34:56",
    ):
        assert words in text
    assert "default via 10.0.2.2 dev eth0" in text
    assert "default via fd00::2 dev eth0" in text
    assert "10.7.0.1 dev eth0 scope link" in text and "fd08::/64 via fd00::2 dev eth0" in text
    assert "10.8.0.0/16 via 10.7.0.1 dev eth0" in text  # which need not be in a subnet of its own
    assert "10.0.2.0/24 via 10.0.2.2 dev eth0" in text  # in place of what came with the address
    assert "tentative" not in text[text.index("fd00::15") :].splitlines()[0]
    await session.agent.set_time(when_ns + 1000 * 10**9)
    assert 1000 <= int(await sh(session, "date +%s")) - when_ns // 10**9 < 1060
    await refused(session)


async def a_missing_interface(vm: Machine, session: Session) -> None:
    """It is waited for, some seconds, and everything that came after it waits too; pings are answered."""
    began = time.monotonic()
    failed = session.agent.configure(vm_config(interfaces=(Interface(bytes(6), "lo"),)))
    created = session.agent.create_container(container_plan("c"))
    await session.agent.ping()
    assert not failed.done()
    with pytest.raises(GuestError) as caught:
        await failed
    assert caught.value.errno == errno.ENODEV
    assert 4 < time.monotonic() - began < 15
    await created


async def a_disk_that_is_plugged_in_later(vm: Machine, session: Session) -> None:
    path = ext4(vm.console_path.with_name("late"))
    await start(session, "first", 9)
    created = session.agent.create_container(container_plan("c", upper=Disk("late", "ext4")))
    await session.agent.ping()
    assert not created.done()
    await vm.plug("late", path)
    await created
    # Where the plugged disk is not the container's own, it is out of reach.
    status, _ = await session.run(
        "first", "sh", "-c", "mknod /d b $(cat /sys/class/block/*dd/dev | tr : ' '); head -c 1 /d"
    )
    assert status != 0


async def shutdown_of_a_busy_vm(vm: Machine, session: Session) -> None:
    """Whatever runs, it ends soon, and what was written is on the disk."""
    await start(session, "c", 1, "sh", "-c", "trap '' TERM; while :; do sleep 1; done", upper=UPPER)
    await start(session, "other", 2)
    await sh(session, "echo kept >/kept")
    began = time.monotonic()
    await session.agent.shutdown()
    assert await vm.ended() == 0
    assert time.monotonic() - began < 15
    assert isinstance(await session.agent.closed(), AgentError)
    disk = vm.console_path.parent.parent / "upper"
    done = subprocess.run(["e2fsck", "-f", "-n", disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    shown = subprocess.run(["debugfs", "-R", "cat /upper/kept", disk], capture_output=True, text=True)
    assert shown.stdout == "kept\n"


async def shutdown_of_an_idle_vm(vm: Machine, session: Session) -> None:
    await session.agent.create_container(container_plan("c", upper=UPPER))
    await session.agent.destroy_container("c")
    await session.agent.shutdown()
    assert await vm.ended() == 0


async def destroy_syncs_and_frees(vm: Machine, session: Session) -> None:
    """When it has answered, the disk is as it will stay: whole, with all that was written."""
    disk = vm.console_path.parent.parent / "upper"
    await start(session, "c", 1, upper=UPPER)
    await sh(session, "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; echo kept >/kept")
    await session.agent.destroy_container("c")
    done = subprocess.run(["e2fsck", "-f", "-n", disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "clean" in subprocess.run(["dumpe2fs", "-h", disk], capture_output=True, text=True).stdout


async def floods_of_processes(vm: Machine, session: Session) -> None:
    """Processes by the thousand, orphans too, neither stop the guest nor stay in it."""
    await start(session, "c", 1, "sh", "-c", "while :; do sleep 1 & wait; done", pids_max=200)
    script = "i=0; while [ $i -lt 500 ]; do (true &); i=$((i+1)); done; echo done"
    running = asyncio.ensure_future(session.run("c", "sh", "-c", script))
    while not running.done():
        await session.agent.ping(timeout_s=10)
        await asyncio.sleep(0.1)
    assert await running == (0, "done\n")
    for _ in range(30):
        assert await session.run("c", "true") == (0, "")


@pytest.mark.parametrize(
    "scenario",
    [
        configuration,
        a_missing_interface,
        a_disk_that_is_plugged_in_later,
        shutdown_of_a_busy_vm,
        shutdown_of_an_idle_vm,
        destroy_syncs_and_frees,
        floods_of_processes,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_vm(guest: RunScenario, scenario: Scenario) -> None:
    guest(scenario)


def test_serial_line_as_carrier(guest_files: Path, guest_kernel: Any, tmp_path: Path) -> None:
    """A 16550 in place of the virtio port: named on the kernel's command line."""

    async def scenario() -> None:
        disks = [("lower", guest_files / "lower.erofs", True)]
        async with machine(guest_kernel, guest_files / "hyperstart", tmp_path, disks, serial=True) as vm:
            session = await vm.greeted()
            await start(session)
            assert await session.run("c", "cat", stdin=b"over a serial line") == (0, "over a serial line")

    asyncio.run(scenario())


def test_off_by_a_reset(guest_files: Path, guest_kernel: Any, tmp_path: Path) -> None:
    """Of a machine that has no switch (Firecracker's): its last line says that it was meant so."""
    line = command_line(guest_kernel, emulated=True, console=True, extra=("hyper.off=reset",))

    async def scenario() -> None:
        more = ["-append", " ".join(line)]
        async with machine(guest_kernel, guest_files / "hyperstart", tmp_path, [], more) as vm:
            session = await vm.greeted()
            await session.agent.shutdown()
            assert await vm.ended() == 0  # by QEMU, which does not reboot
            assert "hyperstart: off" in vm.console

    asyncio.run(scenario())
