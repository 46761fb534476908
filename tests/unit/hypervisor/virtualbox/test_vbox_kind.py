"""``[hypervisor.virtualbox]``, and a VirtualBox that is not there or another one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import HypervisorError, InvalidArgument, Unavailable
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.kinds import Host
from hypercontainer.hypervisor.spec import Accelerator, VMSpec
from hypercontainer.hypervisor.virtualbox import manage as module
from hypercontainer.hypervisor.virtualbox.guests import write_disc
from hypercontainer.hypervisor.virtualbox.kind import make
from hypercontainer.hypervisor.virtualbox.manage import Installation, Manage


def driver(tmp_path: Path, **settings: object) -> Driver:
    return make("vb", settings, Host(tmp_path / "facts.json", tmp_path / "state"))


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"manag": "x"}, "unknown key 'manag'"),
        ({"driverless": "yes"}, "driverless"),
        ({"home": "vbox"}, "an absolute path"),
        ({"display": "-x"}, "display"),
        ({"network": "eth0", "subnet": "192.0.2.0/24", "gateway": "192.0.2.1"}, "bridged:DEVICE"),
    ],
)
def test_settings_that_are_no_good(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        driver(tmp_path, **settings)
    assert words in str(caught.value)


def test_the_network_that_is_named_is_the_one_of_pods(tmp_path: Path) -> None:
    settings = {"network": "hostonly:vboxnet0", "subnet": "192.0.2.0/24", "gateway": "192.0.2.1"}
    lan = asyncio.run(driver(tmp_path, **settings).lan())
    assert (lan.network, lan.subnet.subnet) == ("hostonly:vboxnet0", "192.0.2.0/24")
    with pytest.raises(Unavailable, match="no network of VirtualBox's is named for vb"):
        asyncio.run(driver(tmp_path).lan())


def test_one_that_is_not_installed(tmp_path: Path) -> None:
    missing = driver(tmp_path, manage=str(tmp_path / "VBoxManage"))
    with pytest.raises(Unavailable, match=r"there is no .*VBoxManage"):
        missing.check_installed()
    verdict = asyncio.run(missing.probe(Accelerator.OWN))
    assert not verdict.usable
    assert [check.ok for check in asyncio.run(missing.diagnose())] == [None]


def test_one_of_another_version(tmp_path: Path) -> None:
    manage = program(tmp_path / "VBoxManage", "echo 6.1.50_Ubuntur161033")
    program(tmp_path / "VBoxHeadless", "exit 1")
    with pytest.raises(Unavailable, match=r"VirtualBox 6\.1\.50 is not one of version 7"):
        asyncio.run(driver(tmp_path, manage=str(manage)).capabilities())


def test_one_that_hangs_and_one_that_refuses(tmp_path: Path) -> None:
    slow = Manage(Installation(str(program(tmp_path / "slow", "exec sleep 1000"))))
    with pytest.raises(HypervisorError, match=r"VBoxManage list did not end within 0\.2 s"):
        asyncio.run(slow.run("list", "vms", timeout_s=0.2))
    refusing = "echo 'VBoxManage: error: Permission denied' >&2; exit 1"
    with pytest.raises(HypervisorError, match="VBoxManage list: Permission denied"):
        asyncio.run(Manage(Installation(str(program(tmp_path / "no", refusing)))).run("list", "vms"))


def test_a_vm_that_somebody_is_about_to_lock_is_asked_after_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PENDING_S", 0)
    refusal = (
        "VBoxManage: error: The machine 'a' already has a lock request pending\n"
        "VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap"
    )
    asked = tmp_path / "asked"
    script = (
        f"""[ -e {asked} ] && echo 'VMState="running"' && exit; touch {asked}; echo "{refusal}" >&2; exit 1"""
    )
    manage = Manage(Installation(str(program(tmp_path / "VBoxManage", script))))
    assert asyncio.run(manage.info("a")) == {"VMState": "running"}
    never = f'echo "{refusal}" >&2; exit 1'
    with pytest.raises(HypervisorError, match="lock request pending"):
        asyncio.run(Manage(Installation(str(program(tmp_path / "never", never)))).info("a"))


def test_a_kernel_for_a_boot_loader_is_asked_for(tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"\x7fELF and more")
    spec = VMSpec("a", "a", tmp_path, kernel, kernel, (), memory_mib=64, vcpus=1)
    with pytest.raises(InvalidArgument, match="a boot loader takes a bzImage"):
        write_disc(spec, tmp_path / "boot.iso")
