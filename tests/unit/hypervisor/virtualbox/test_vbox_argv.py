"""The command lines of VBoxManage and of a VM's process, to the letter; the same were taken by the real 7.2.22."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.hypervisor.spec import DiskSpec, Existing, Nic, Tap, VMSpec
from hypercontainer.hypervisor.virtualbox import vmdk
from hypercontainer.hypervisor.virtualbox.argv import Definition, check_nics, define, existing, run_argv
from hypercontainer.hypervisor.virtualbox.places import VirtualBoxRunDir
from hypercontainer.linux.users import User
from nics import MAC, nat_nic

GOLDEN = Path(__file__).parents[3] / "golden/virtualbox"
RUN = Path("/run/hyper-rec")
IDENTITY = "911e6d20-eb18-4e5c-8317-0b731b16ad08"
IMAGE = DiskSpec("image", ((RUN / "a", 1 << 20), (RUN / "b", 512)), read_only=True)
DISK = DiskSpec("disk", ((RUN / "b", 1 << 20),), read_only=False)
PORTS = (PortMapping(80, 8080, "127.0.0.1", "tcp"), PortMapping(53, 5353, "0.0.0.0", "udp"))
SPEC = VMSpec(
    id="web-1",
    name='w"e\\b é',
    run_dir=RUN,
    kernel=Path("/k"),
    initrd=Path("/i"),
    kernel_args=("quiet",),
    memory_mib=256,
    vcpus=2,
    disks=(IMAGE, DISK),
    nics=(nat_nic(*PORTS), Nic("52:54:00:12:34:57", Existing("intnet:lab"))),
)


def definition(**changes: Any) -> Definition:
    one = Definition(SPEC, IDENTITY, VirtualBoxRunDir(RUN, "web-1"), (7, 2, 22), driverless=True)
    return replace(one, **changes)


def told(one: Definition) -> str:
    return "".join("\n    ".join(_pairs(command)) + "\n" for command in define(one))


def _pairs(words: list[str]) -> list[str]:
    """One option a line."""
    lines: list[str] = []
    for word in words:
        if word.startswith("--") or not lines:
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return lines


def test_a_vm_is_defined_as_the_golden_file_has_it() -> None:
    assert told(definition()) == (GOLDEN / "define.txt").read_text()


def test_earlier_versions_and_a_kernel_module_have_other_options() -> None:
    later, earlier = (
        told(definition()).splitlines(),
        told(definition(version=(7, 0, 6), driverless=False)).splitlines(),
    )
    assert set(later) - set(earlier) == {
        "    --platform-architecture x86",
        "    --vm-execution-engine recompiler",
    }
    assert set(earlier) - set(later) == {"    --nat-dns-proxy1 on"}


def test_the_process_of_a_vm() -> None:
    assert run_argv("/b/VBoxHeadless", IDENTITY, driverless=False) == [
        *("/b/VBoxHeadless", "--startvm", IDENTITY, "--vrde", "off")
    ]
    assert run_argv("/b/VirtualBoxVM", IDENTITY, driverless=True) == [
        *("/b/VirtualBoxVM", "--driverless", "--execute-all-in-iem", "--startvm", IDENTITY)
    ]


def test_a_disk_is_described_and_not_copied() -> None:
    assert vmdk.descriptor(IMAGE, uuid.UUID(IDENTITY)).decode() == (GOLDEN / "image.vmdk").read_text()
    alone = vmdk.descriptor(DISK, uuid.UUID(IDENTITY)).decode()
    assert 'createType="monolithicFlat"' in alone
    assert 'RW 2048 FLAT "/run/hyper-rec/b" 0\n' in alone


@pytest.mark.parametrize("name", ['/a"b', "/a\nb"])
def test_no_path_ends_a_line_of_a_descriptor(name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot name it"):
        vmdk.descriptor(replace(DISK, extents=((Path(name), 512),)), uuid.UUID(IDENTITY))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "vmdk"}, "raw disks, not vmdk"),
        ({"user": User(1000, 1000)}, "not with its user's"),
        ({"device": True}, "not block devices"),
    ],
)
def test_what_virtualbox_would_open_by_its_path_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotSupported, match=words):
        vmdk.check([IMAGE, replace(DISK, **changes)])


def test_networks_that_are_there() -> None:
    assert existing("bridged:eth0") == ("bridged", "eth0")
    assert existing("natnetwork:a b:c") == ("natnetwork", "a b:c")
    for name in ("eth0", "bridged:", "nat:x", "bridged:a\nb"):
        with pytest.raises(InvalidArgument, match="bridged:DEVICE"):
            existing(name)


@pytest.mark.parametrize(
    ("nic", "words"),
    [
        (Nic(MAC, Tap(Path("/n"), "t0")), "no tap devices"),
        (nat_nic(gateway="10.0.2.1"), r"10\.0\.2\.2 and 10\.0\.2\.3"),
        (nat_nic(restrict=True), "cannot cut"),
    ],
)
def test_networks_that_virtualbox_has_not(nic: Nic, words: str) -> None:
    with pytest.raises(NotSupported, match=words):
        check_nics([nat_nic(), nic])
    check_nics(SPEC.nics)
