"""QEMU's command line, to the letter."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.qemu.argv import (
    DiskFds,
    FdPlan,
    Role,
    block_device,
    blockdev,
    plan_fds,
    qemu_argv,
)
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.machines import HEAD_BYTES, MACHINES, PCI
from hypercontainer.hypervisor.remote import RemoteDisk
from hypercontainer.hypervisor.spec import (
    P9,
    VIRTIOFS,
    Accelerator,
    DiskSpec,
    DriveSpec,
    Nic,
    ShareSpec,
    Tap,
    VMSpec,
)
from hypercontainer.hypervisor.validate import check_disk, check_spec
from nics import nat_nic

PLAIN = VMSpec(
    "a1", "web", Path("/r/a1"), Path("/k"), None, ("console=ttyS0", "quiet"), 128, 1, hotplug_slots=0
)
FULL = replace(
    PLAIN,
    name="web,1",
    initrd=Path("/i"),
    hotplug_slots=2,
    memory_mib=512,
    vcpus=2,
    accelerator=Accelerator.KVM,
    disks=(
        DiskSpec("root", ((Path("/d/root"), 4096),), read_only=False),
        DiskSpec("layers", ((Path("/d/1"), 512), (Path("/d/2"), 1024)), read_only=True),
    ),
    nics=(
        nat_nic(
            PortMapping(80, 8080, "127.0.0.1"),
            PortMapping(5353, 53, protocol="udp"),
            mac="52:54:00:00:00:01",
            restrict=True,
            hostname="web.example",
        ),
    ),
)

MACHINE = (
    "q35,sata=off,smm=off,usb=off,hpet=off,smbus=off,vmport=off,i8042=off,mem-merge=off,dump-guest-core=off"
)
OLD = Binary(
    Path("/q"), "", "5.0.0", frozenset(Accelerator), sandbox=False, free_page_reporting=False, qboot=False
)
NEW = replace(OLD, version="7.2.22", sandbox=True, free_page_reporting=True, qboot=True)

PLAIN_LINES = f"""\
/q -nodefaults -no-user-config -display none -no-reboot
-machine {MACHINE} -accel tcg,tb-size=128 -cpu max
-name guest=web -m 128M -smp 1
-kernel /dev/fd/7
-append console=ttyS0_quiet
-chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control
-chardev socket,id=console,fd=6,server=on,wait=off -serial chardev:console
-device virtio-serial-pci,disable-legacy=on,max_ports=2
-chardev socket,id=agent,fd=5,server=on,wait=off -device virtserialport,chardev=agent,name=hyper.agent
-device virtio-rng-pci,disable-legacy=on
-device virtio-balloon-pci,disable-legacy=on
-S
"""

FULL_LINES = f"""\
/q -nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine {MACHINE} -accel kvm -cpu host
-name guest=web,,1 -m 512M -smp 2 -bios qboot.rom
-kernel /dev/fd/7 -initrd /dev/fd/8
-append console=ttyS0_quiet
-chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control
-chardev socket,id=console,fd=6,server=on,wait=off -serial chardev:console
-device virtio-serial-pci,disable-legacy=on,max_ports=2
-chardev socket,id=agent,fd=5,server=on,wait=off -device virtserialport,chardev=agent,name=hyper.agent
-device virtio-rng-pci,disable-legacy=on
-device virtio-balloon-pci,disable-legacy=on,free-page-reporting=on
-add-fd fd=9,set=9,opaque=disk-root
-blockdev {{"driver":"raw","node-name":"disk-root","read-only":false,"discard":"unmap",\
"cache":{{"direct":false,"no-flush":false}},"file":{{"driver":"file","filename":"/dev/fdset/9","locking":"on",\
"discard":"unmap","cache":{{"direct":false,"no-flush":false}}}},"size":4096}}
-device {{"driver":"virtio-blk-pci","id":"dev-root","drive":"disk-root","serial":"root","werror":"enospc",\
"disable-legacy":"on"}}
-add-fd fd=10,set=10,opaque=disk-layers
-add-fd fd=11,set=11,opaque=disk-layers
-add-fd fd=12,set=12,opaque=disk-layers
-blockdev {{"driver":"vmdk","node-name":"disk-layers","read-only":true,"discard":"unmap",\
"cache":{{"direct":false,"no-flush":false}},"file":{{"driver":"file","filename":"/dev/fdset/12","locking":"off",\
"discard":"unmap","cache":{{"direct":false,"no-flush":false}}}}}}
-device {{"driver":"virtio-blk-pci","id":"dev-layers","drive":"disk-layers","serial":"layers",\
"werror":"enospc","disable-legacy":"on"}}
-netdev dgram,id=net0,local.type=fd,local.str=13
-device {{"driver":"virtio-net-pci","id":"nic-52-54-00-00-00-01","netdev":"net0",\
"mac":"52:54:00:00:00:01","disable-legacy":"on","guest_announce":false,"romfile":""}}
-device pcie-root-port,id=slot1,chassis=1,slot=1
-device pcie-root-port,id=slot2,chassis=2,slot=2
-S
"""

# What a template is made of, and its clones: the same devices in the same order.
SAVED = replace(
    FULL,
    accelerator=Accelerator.TCG,
    disks=(),
    drives=(DriveSpec("image", read_only=True), DriveSpec("disk", read_only=False)),
)

DEVICE_LINES = """\
-chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control
-chardev socket,id=console,fd=6,server=on,wait=off -serial chardev:console
-device virtio-serial-pci,disable-legacy=on,max_ports=2
-chardev socket,id=agent,fd=5,server=on,wait=off -device virtserialport,chardev=agent,name=hyper.agent
-device virtio-rng-pci,disable-legacy=on
-device virtio-balloon-pci,disable-legacy=on,free-page-reporting=on
-blockdev {"driver":"null-co","node-name":"empty-image","size":17592186044416,"read-zeroes":true,"read-only":true}
-blockdev {"driver":"raw","node-name":"drive-image","read-only":true,"discard":"unmap","file":"empty-image"}
-device {"driver":"virtio-blk-pci","id":"dev-image","drive":"drive-image","serial":"image","werror":"enospc",\
"disable-legacy":"on"}
-blockdev {"driver":"null-co","node-name":"empty-disk","size":17592186044416,"read-zeroes":true,"read-only":false}
-blockdev {"driver":"raw","node-name":"drive-disk","read-only":false,"discard":"unmap","file":"empty-disk"}
-device {"driver":"virtio-blk-pci","id":"dev-disk","drive":"drive-disk","serial":"disk","werror":"enospc",\
"disable-legacy":"on"}
-netdev dgram,id=net0,local.type=fd,local.str={NIC}
-device {"driver":"virtio-net-pci","id":"nic-52-54-00-00-00-01","netdev":"net0",\
"mac":"52:54:00:00:00:01","disable-legacy":"on","guest_announce":false,"romfile":""}
-device pcie-root-port,id=slot1,chassis=1,slot=1
-device pcie-root-port,id=slot2,chassis=2,slot=2
"""

SAVE_LINES = f"""\
/q -nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine {MACHINE} -accel tcg,tb-size=128 -cpu max
-name guest=web,,1
-machine memory-backend=ram -object memory-backend-file,id=ram,size=512M,mem-path=/dev/fd/9,share=on
-m 512M -smp 2 -bios qboot.rom
-kernel /dev/fd/7 -initrd /dev/fd/8
-append console=ttyS0_quiet
{DEVICE_LINES.replace("{NIC}", "10")}-S
"""

CLONE_LINES = f"""\
/q -nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine {MACHINE} -accel tcg,tb-size=128 -cpu max
-name guest=web,,1
-machine memory-backend=ram -object memory-backend-file,id=ram,size=512M,mem-path=/dev/fd/8,share=off
-m 512M -smp 2 -bios qboot.rom
-kernel /dev/fd/7
{DEVICE_LINES.replace("{NIC}", "9")}\
-S -incoming defer
"""


def lines(text: str) -> list[str]:
    """Words of a readable command line; '_' stands for the one space inside a word."""
    return [word.replace("console=ttyS0_", "console=ttyS0 ") for word in text.split()]


def test_the_least_vm() -> None:
    check_spec(PLAIN)
    argv = qemu_argv(OLD, PLAIN, plan_fds(PLAIN))
    assert argv == lines(PLAIN_LINES)


def test_a_vm_with_everything() -> None:
    check_spec(FULL)
    argv = qemu_argv(NEW, FULL, plan_fds(FULL))
    assert argv == lines(FULL_LINES)


def test_guests_that_are_told_of_a_full_disk() -> None:
    spec = replace(FULL, waits_for_room=False, drives=(DriveSpec("later", read_only=False),))
    argv = " ".join(qemu_argv(NEW, spec, plan_fds(spec)))
    assert argv.count('"werror":"report"') == 3
    assert "enospc" not in argv
    assert block_device(FULL.disks[0], PCI, waits=False)["werror"] == "report"


def test_descriptors_have_no_gaps() -> None:
    plan = plan_fds(FULL)
    assert plan == FdPlan(4, 5, 6, 7, 8, (DiskFds((9,), None), DiskFds((10, 11), 12)), nics=(13,))


def test_a_vm_to_save() -> None:
    check_spec(SAVED)
    plan = plan_fds(SAVED, Role.SAVE)
    assert plan == FdPlan(4, 5, 6, 7, 8, (), memory=9, nics=(10,))
    assert qemu_argv(NEW, SAVED, plan, Role.SAVE) == lines(SAVE_LINES)


def test_a_clone_of_it() -> None:
    """Its kernel's file, its initrd and its command line are in its memory already."""
    plan = plan_fds(SAVED, Role.CLONE)
    assert plan == FdPlan(4, 5, 6, 7, None, (), memory=8, nics=(9,))
    assert qemu_argv(NEW, SAVED, plan, Role.CLONE) == lines(CLONE_LINES)


def test_a_clone_may_have_disks_too() -> None:
    spec = replace(SAVED, disks=FULL.disks, drives=())
    plan = plan_fds(spec, Role.CLONE)
    disks = (DiskFds((8,), None), DiskFds((9, 10), 11))
    assert plan == FdPlan(4, 5, 6, 7, None, disks, memory=12, nics=(13,))


NICS_LINES = """\
-netdev {USER}8
-device {"driver":"virtio-net-pci","id":"nic-52-54-00-00-00-01","netdev":"net0",\
"mac":"52:54:00:00:00:01","disable-legacy":"on","guest_announce":false,"romfile":""}
-netdev tap,id=net1,fd=9,vhost=off
-device {"driver":"virtio-net-pci","id":"nic-52-54-00-00-00-02","netdev":"net1",\
"mac":"52:54:00:00:00:02","disable-legacy":"on","guest_announce":false,"romfile":""}
"""


def test_two_nics() -> None:
    """What is behind them does not show, but for of which kind it is; who has no datagrams has them by another name."""
    first = nat_nic(PortMapping(80, 8080), mac="52:54:00:00:00:01")
    spec = replace(PLAIN, nics=(first, Nic("52:54:00:00:00:02", Tap(Path("/run/net"), "tap7"))))
    check_spec(spec)
    for version, backend in (
        ("5.0.0", "socket,id=net0,fd="),
        ("7.1.9", "socket,id=net0,fd="),
        ("7.2.0", "dgram,id=net0,local.type=fd,local.str="),
        ("11.0.0", "dgram,id=net0,local.type=fd,local.str="),
    ):
        *plain, last = lines(PLAIN_LINES)
        nics = lines(NICS_LINES.replace("{USER}", backend))
        assert qemu_argv(replace(OLD, version=version), spec, plan_fds(spec)) == [*plain, *nics, last]


def test_a_qcow2_disk() -> None:
    """Whatever its header names, no other file is opened for it."""
    disk = DiskSpec("d", ((Path("/d"), 1 << 20),), read_only=False, format="qcow2")
    cache = {"direct": False, "no-flush": False}
    file = {"driver": "file", "filename": "/dev/fdset/1", "locking": "on", "discard": "unmap", "cache": cache}
    node = {"driver": "qcow2", "node-name": "disk-d", "read-only": False, "discard": "unmap", "cache": cache}
    assert blockdev(disk, "/dev/fdset/1") == {**node, "file": file, "backing": None}


@pytest.mark.parametrize("format_", ["vdi", "vmdk"])
def test_disks_of_other_formats(format_: str) -> None:
    """Of one file, which no descriptor of ours is put before."""
    disk = DiskSpec("d", ((Path("/d"), 1 << 20),), read_only=False, format=format_)
    check_disk(disk)
    node = blockdev(disk, "/dev/fdset/1")
    assert node["driver"] == format_
    assert ("backing" in node) == (format_ == "vmdk")
    assert "size" not in node


def test_a_block_device() -> None:
    disk = DiskSpec("d", ((Path("/dev/sdb"), 1 << 20),), read_only=False, device=True)
    check_disk(disk)
    node = blockdev(disk, "/dev/fdset/1")
    assert node["driver"] == "raw"
    assert isinstance(node["file"], dict)
    assert (node["file"]["driver"], node["file"]["filename"]) == ("host_device", "/dev/fdset/1")
    for wrong in (replace(disk, format="qcow2"), replace(disk, extents=disk.extents * 2, read_only=True)):
        with pytest.raises(InvalidArgument, match="one raw disk"):
            check_disk(wrong)


def test_disks_that_servers_have() -> None:
    remote = RemoteDisk("v-9", True, "nbd", "nbd://h/", address="192.0.2.1", port=1)
    spec = replace(FULL, remotes=(remote,))
    check_spec(spec)
    plan = plan_fds(spec)
    assert plan == replace(plan_fds(FULL), remotes=(14,))
    argv = qemu_argv(NEW, spec, plan)
    nodes = [json.loads(value) for word, value in pairwise(argv) if word == "-blockdev"]
    node = next(node for node in nodes if node["node-name"] == "disk-v-9")
    assert node["file"]["server"] == {"type": "fd", "str": "14"}
    assert node["read-only"] is True
    assert "192.0.2.1" not in " ".join(argv)
    with pytest.raises(InvalidArgument, match="one disk each"):
        check_spec(replace(spec, remotes=(replace(remote, serial=FULL.disks[0].serial),)))


def test_shares() -> None:
    """virtiofsd has the guest's memory, which is therefore shared; any other VM has it to itself."""
    folder, file = ShareSpec("v-1", Path("/s"), read_only=False), ShareSpec("v-2", Path("/f"), read_only=True)
    spec = replace(FULL, shares=(folder, file))
    check_spec(spec)
    plan = plan_fds(spec)
    assert plan == replace(plan_fds(FULL), shares=(14, 15))
    argv = qemu_argv(NEW, spec, plan, shares=VIRTIOFS)
    plain = lines(FULL_LINES)
    memory = ["-machine", "memory-backend=ram", "-object", "memory-backend-memfd,id=ram,size=512M,share=on"]
    at = plain.index("-m")
    devices = [
        *("-chardev", "socket,id=share-v-1,fd=14", "-device"),
        '{"driver":"vhost-user-fs-pci","chardev":"share-v-1","tag":"v-1","queue-size":1024}',
        *("-chardev", "socket,id=share-v-2,fd=15", "-device"),
        '{"driver":"vhost-user-fs-pci","chardev":"share-v-2","tag":"v-2","queue-size":1024}',
    ]
    before = plain.index("-netdev")
    assert argv == [*plain[:at], *memory, *plain[at:before], *devices, *plain[before:]]
    devices = [
        *("-fsdev", "proxy,id=share-v-1,sock_fd=14", "-device"),
        '{"driver":"virtio-9p-pci","fsdev":"share-v-1","mount_tag":"v-1","disable-legacy":"on"}',
        *("-fsdev", "proxy,id=share-v-2,sock_fd=15", "-device"),
        '{"driver":"virtio-9p-pci","fsdev":"share-v-2","mount_tag":"v-2","disable-legacy":"on"}',
    ]
    assert qemu_argv(NEW, spec, plan, shares=P9) == [*plain[:before], *devices, *plain[before:]]


FOREIGN = replace(
    SAVED, name="web", kernel_args=("console=ttyS0", "quiet"), hotplug_slots=0, drives=(), nics=()
)
ARM64_LINES = """\
/q -nodefaults -no-user-config -display none -no-reboot
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine virt,mem-merge=off,dump-guest-core=off -accel tcg,tb-size=128 -cpu max,pauth-impdef=on
-name guest=web
{MEMORY}-m 512M -smp 2{BOOT}
-chardev socket,id=qmp,fd=4,server=on,wait=off -mon chardev=qmp,mode=control
-chardev socket,id=console,fd=6,server=on,wait=off -serial chardev:console
-device virtio-serial-pci,disable-legacy=on,max_ports=2
-chardev socket,id=agent,fd=5,server=on,wait=off -device virtserialport,chardev=agent,name=hyper.agent
-device virtio-rng-pci,disable-legacy=on
-device virtio-balloon-pci,disable-legacy=on,free-page-reporting=on
-S{END}
"""
BOOT = "\n-kernel /dev/fd/7 -initrd /dev/fd/8\n-append console=ttyS0_quiet"
MEMORY = (
    "-machine memory-backend=ram -object memory-backend-file,id=ram,size=512M,mem-path=/dev/fd/8,share=off\n"
)


def test_other_architectures() -> None:
    """Each its machine and processor; a clone of theirs is told of no kernel, since no firmware is chosen by it."""
    arm = replace(NEW, qboot=False, architecture="arm64")
    plain = ARM64_LINES.replace("{MEMORY}", "").replace("{BOOT}", BOOT).replace("{END}", "")
    assert qemu_argv(arm, FOREIGN, plan_fds(FOREIGN)) == lines(plain)
    clone = ARM64_LINES.replace("{MEMORY}", MEMORY).replace("{BOOT}", "").replace("{END}", " -incoming defer")
    assert qemu_argv(arm, FOREIGN, plan_fds(FOREIGN, Role.CLONE), Role.CLONE) == lines(clone)
    riscv = plain.replace("max,pauth-impdef=on", "rv64")
    assert qemu_argv(replace(arm, architecture="riscv64"), FOREIGN, plan_fds(FOREIGN)) == lines(riscv)


def test_what_is_on_channels_and_not_on_pci() -> None:
    """Of a mainframe: each device's name, and none of what only PCI's have; nor places for what is plugged in."""
    spec = replace(FULL, shares=(ShareSpec("v-1", Path("/v"), read_only=False),))
    mainframe = replace(NEW, architecture="s390x")
    argv = qemu_argv(mainframe, spec, plan_fds(spec), shares=P9)
    devices = [word for before, word in pairwise(argv) if before == "-device"]
    assert len(devices) > 6
    assert all("ccw" in device or device.startswith("virtserialport,") for device in devices)
    assert not any(word in " ".join(argv) for word in ("pci", "disable-legacy", "romfile", "root-port"))
    assert argv[argv.index("-machine") + 1].startswith("s390-ccw-virtio,")


def test_power() -> None:
    power = qemu_argv(replace(NEW, qboot=False, architecture="ppc64le"), FOREIGN, plan_fds(FOREIGN))
    assert power[power.index("-machine") + 1].startswith("pseries,x-vof=on,")
    assert "virtio-rng-pci,disable-legacy=on" in power


@pytest.mark.parametrize(
    ("architecture", "at", "magic"),
    [
        ("amd64", 0, b"\x7fELF"),
        ("amd64", 0x202, b"HdrS"),
        ("arm64", 0x38, b"ARM\x64"),
        ("riscv64", 0x38, b"RSC\x05"),
        ("ppc64le", 18, b"\x15\0\1\0\0\0"),
        ("s390x", 0x10008, b"S390EP"),
    ],
)
def test_a_kernel_is_known_by_what_its_machine_starts(architecture: str, at: int, magic: bytes) -> None:
    head = (bytes(at) + magic).ljust(HEAD_BYTES, b"\0")
    assert [name for name, machine in MACHINES.items() if machine.is_kernel(head)] == [architecture]
