from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_driver import FakeDriver
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, InvalidArgument, NotSupported
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.resources import quota_for, vcpus_for
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, VMSpec
from hypercontainer.hypervisor.validate import check_spec
from nics import nat_nic

GOOD = VMSpec("a1", "web", Path("/r/a1"), Path("/k"), None, ("quiet",), 128, 1)


def nic(**changes: Any) -> dict[str, Any]:
    return {"nics": (nat_nic(**changes),)}


def forward(host_ip: str, host_port: int, port: int, protocol: str = "tcp") -> dict[str, Any]:
    return {"nics": (nat_nic(PortMapping(port, host_port, host_ip, protocol)),)}


def disk(*fields: Any) -> dict[str, Any]:
    return {"disks": (DiskSpec(*fields),)}


ONE = ((Path("/d"), 512),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "../x"}, "VM id"),
        ({"id": ""}, "VM id"),
        ({"name": "a\nb"}, "VM name"),
        ({"run_dir": Path("relative")}, "run_dir"),
        ({"memory_mib": 0}, "memory of 0 MiB"),
        ({"vcpus": 256}, "256 vCPUs"),
        ({"hotplug_slots": 17}, "17 hotplug slots"),
        ({"kernel_args": ("a\0b",)}, "kernel argument"),
        ({"kernel_args": ("x" * 2048,)}, "kernel arguments: 2048 bytes"),
        (disk("Root", ONE, True), "serial"),
        (disk("x" * 21, ONE, True), "serial"),
        (disk("a,b", ONE, True), "serial"),
        (disk("a", (), True), "at least one extent"),
        (disk("a", ((Path("/d"), 100),), True), "multiple of 512"),
        (disk("a", ((Path("/d"), 0),), True), "multiple of 512"),
        (disk("a", ONE, True, "vhd"), "format"),
        ({"disks": (DiskSpec("a", ONE, True), DiskSpec("a", ONE, True))}, "one disk each"),
        (nic(mac="52:54:00:00:00"), "MAC"),
        ({"nics": (nat_nic(), nat_nic())}, "one NIC each"),
        (nic(hostname="a,restrict=off"), "hostname"),
        (nic(guest_cidr="nonsense"), "user network"),
        (nic(gateway="10.0.3.2"), "not in"),
        (nic(dns="10.0.2.15"), "three addresses"),
        (forward("127.0.0.1", 0, 80), "port 0"),
        (forward("127.0.0.1", 80, 65536), "port 65536"),
        (forward("127.0.0.1", 80, 80, "sctp"), "sctp"),
    ],
)
def test_what_makes_no_sense_is_named(changes: dict[str, Any], words: str) -> None:
    check_spec(GOOD)
    with pytest.raises(InvalidArgument, match=words):
        check_spec(replace(GOOD, **changes))


@pytest.mark.parametrize(
    "changes", [disk("a", ONE * 2, False), forward("::1", 80, 80), forward("localhost", 80, 80)]
)
def test_what_is_not_to_be_had_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(NotSupported):
        check_spec(replace(GOOD, **changes))


@pytest.mark.parametrize(("cpus", "expected"), [(None, 4), (0.01, 1), (1, 1), (1.5, 2), (4, 4), (64, 4)])
def test_vcpus(cpus: float | None, expected: int) -> None:
    assert vcpus_for(cpus, host=4) == expected


@pytest.mark.parametrize(
    ("cpus", "expected"), [(None, None), (0.5, 0.5), (1, 2), (1.5, 1.5), (2, 3), (2.5, 2.5), (4.5, 5.5)]
)
def test_what_helps_a_vm_does_not_take_from_its_processors(
    cpus: float | None, expected: float | None
) -> None:
    assert quota_for(cpus, host=4) == expected


def test_limits_leave_qemu_its_own(tmp_path: Path) -> None:
    driver = QemuDriver(tmp_path / "facts.json")
    tcg = driver.limits(256, 1.5, Accelerator.TCG, boot_files_bytes=1000)
    kvm = driver.limits(256, None, Accelerator.KVM)
    assert tcg.memory_bytes is not None
    assert kvm.memory_bytes is not None
    assert tcg.memory_bytes > kvm.memory_bytes > 256 << 20
    assert (tcg.memory_bytes - 1000) % (1 << 20) == 0
    assert (tcg.cpus, kvm.cpus) == (1.5, None)
    assert driver.limits(256, 1, Accelerator.TCG).cpus == 2


RECORD = VMRecord("qemu", "a", "n", Path("/r"), Accelerator.TCG, 1, 2, "b", cgroups=(Path("/c"),))


def test_a_record_survives_json() -> None:
    assert VMRecord.from_json(RECORD.to_json()) == RECORD


def test_a_record_that_is_there_already_is_qemus(tmp_path: Path) -> None:
    qemu = QemuDriver(tmp_path / "facts.json")
    assert Drivers(FakeDriver(), qemu).of(RECORD) is qemu


@pytest.mark.parametrize(
    "tree", [None, [], {}, {**RECORD.to_json(), "pid": "1"}, {**RECORD.to_json(), "accelerator": "x"}]
)
def test_a_damaged_record_is_an_error(tree: object) -> None:
    with pytest.raises(HypervisorError):
        VMRecord.from_json(tree)
