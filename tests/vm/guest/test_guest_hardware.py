"""The guest's half of VirtualBox and ESX: booted from a CD, on their disks and networks, over a serial line."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from guest_machine import Session, container_plan, ext4, process_plan, vm_config
from guest_pods import power_off
from hardware_machine import ESX, MACS, VIRTUALBOX, Hardware, HardwareMachine, hardware_machine
from hypercontainer.agent.operations import Disk, Interface
from hypercontainer.contract.devices import VMWARE
from hypercontainer.errors import AgentError
from hypercontainer.kernel import Kernel, KernelStore, cache_dir

pytestmark = pytest.mark.vm


@pytest.fixture(scope="session")
def wide_kernel() -> Kernel:
    return KernelStore(cache_dir()).having(VMWARE)


async def has_disks_and_networks(vm: HardwareMachine, session: Session) -> None:
    interfaces = tuple(
        Interface(
            bytes.fromhex(mac.replace(":", "")),
            f"eth{number}",
            (f"10.0.{2 + number}.15/24",),
            (f"10.0.{2 + number}.2",) if number == 0 else (),
        )
        for number, mac in enumerate(MACS)
    )
    await session.agent.configure(vm_config(interfaces=interfaces))
    await session.agent.create_container(container_plan("c", upper=Disk("upper", "ext4")))
    await session.agent.start_process(process_plan("c", 1, "sleep", "1000", init=True))
    script = (
        "cat /sys/class/net/eth0/address /sys/class/net/eth1/address; "
        # What is sent while a card and its switch still find out how fast they are is lost.
        "for at in 10.0.2.2 10.0.3.2; do for try in $(seq 20); do "
        "ping -c1 -W1 $at >/dev/null && echo $at && break; done; done; "
        "grep -c 'upperdir=' /proc/mounts; echo kept >/kept; sync"
    )
    status, text = await session.run("c", "sh", "-c", script)
    assert (status, text.split()) == (0, [*MACS, "10.0.2.2", "10.0.3.2", "1"]), text


async def carries_much(session: Session) -> None:
    """More than any buffer on the way, there and back."""
    much = bytes(range(256)) * 300
    assert await session.run("c", "md5sum", stdin=much) == (0, f"{hashlib.md5(much).hexdigest()}  -\n")
    status, text = await session.run("c", "dd", "if=/dev/zero", "bs=4k", "count=16")
    assert (status, text.count("\0")) == (0, 65536)


async def killed_line(session: Session) -> None:
    """The process that has the line ends: so does the session, and not the guest."""
    everything = (1 << 64) - 1
    capabilities: dict[str, Any] = dict.fromkeys(
        ("cap_bounding", "cap_effective", "cap_permitted"), everything
    )
    with pytest.raises(AgentError):
        await session.run("", "sh", "-c", "kill -9 $(pidof hyper-line)", tools="c", **capabilities)


@pytest.mark.parametrize("hardware", [VIRTUALBOX, ESX], ids=lambda hardware: str(hardware.name))
def test_a_container_on_other_hardware(
    wide_kernel: Kernel, guest_files: Path, tmp_path: Path, hardware: Hardware
) -> None:
    async def main() -> None:
        disks = [("lower", guest_files / "lower.erofs"), ("upper", ext4(tmp_path / "upper"))]
        for name, path in disks:
            (tmp_path / f"{name}.raw").hardlink_to(path)
        raw = [(name, tmp_path / f"{name}.raw") for name, _ in disks]
        async with hardware_machine(
            hardware, wide_kernel, guest_files / "hyperstart", tmp_path / "vm", raw
        ) as vm:
            try:
                async with asyncio.timeout(240):
                    session = await vm.session()
                    await session.agent.welcome(120)
                    await has_disks_and_networks(vm, session)
                    await carries_much(session)
                    await killed_line(session)
                    # Another has it, and what the next hyperd finds is the same guest.
                    session = await vm.session()
                    welcome = await session.agent.welcome(60)
                    assert welcome.containers == ("c",)
                    assert await session.run("c", "cat", "/kept") == (0, "kept\n")
                    await power_off(vm, session)
            except BaseException:
                print(vm.last_words)
                raise

    asyncio.run(main())
