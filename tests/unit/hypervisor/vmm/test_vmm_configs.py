"""What Cloud Hypervisor and Firecracker are told, to the letter, and that their API has each of its fields."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import fake_vmm
from hypercontainer.hypervisor.cloudhypervisor import config as cloud_hypervisor
from hypercontainer.hypervisor.firecracker import config as firecracker
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, VMSpec
from nics import nat_nic

PLAIN = VMSpec(
    "a1",
    "web",
    Path("/r/a1"),
    Path("/k"),
    None,
    ("console=ttyS0", "quiet"),
    128,
    1,
    accelerator=Accelerator.KVM,
    hotplug_slots=0,
)
FULL = replace(
    PLAIN,
    initrd=Path("/i"),
    memory_mib=512,
    vcpus=2,
    disks=(
        DiskSpec("image", ((Path("/d/1"), 512),), read_only=True),
        DiskSpec("disk-a", ((Path("/d/2"), 1024),), read_only=False),
    ),
    nics=(nat_nic(), nat_nic(mac="52:54:00:00:00:02")),
)


def test_cloud_hypervisor_has_descriptors_on_its_command_line() -> None:
    assert cloud_hypervisor.argv(Path("/bin/ch")) == (
        "/bin/ch",
        "--api-socket",
        "fd=4",
        "--event-monitor",
        "fd=5",
    )
    assert cloud_hypervisor.trial(Path("/bin/ch"), 7, "quiet", 64) == [
        *("/bin/ch", "--kernel", "/dev/fd/7", "--cmdline", "quiet", "--memory", "size=64M"),
        *("--serial", "tty", "--console", "off"),
    ]


def test_cloud_hypervisors_vm() -> None:
    assert cloud_hypervisor.vm_config(PLAIN) == {
        "cpus": {"boot_vcpus": 1, "max_vcpus": 1},
        "memory": {"size": 134217728},
        "payload": {"kernel": "/dev/fd/6", "cmdline": "console=ttyS0 quiet"},
        "disks": [],
        "rng": {"src": "/dev/urandom"},
        "balloon": {"size": 0, "free_page_reporting": True},
        "serial": {"mode": "Tty"},
        "console": {"mode": "Off"},
        "vsock": {"cid": 3, "socket": "/vm/agent.sock"},
    }
    full = cloud_hypervisor.vm_config(FULL)
    assert full["payload"] == {
        "kernel": "/dev/fd/6",
        "initramfs": "/dev/fd/7",
        "cmdline": "console=ttyS0 quiet",
    }
    raw = {"image_type": "Raw", "backing_files": False}
    assert full["disks"] == [
        {"id": "disk-image", "serial": "image", "path": "/disks/image", "readonly": True, **raw},
        {"id": "disk-disk-a", "serial": "disk-a", "path": "/disks/disk-a", "readonly": False, **raw},
    ]
    assert cloud_hypervisor.net_config(FULL.nics[1], 1) == {
        "id": "net1",
        "mac": "52:54:00:00:00:02",
        "num_queues": 2,
    }


def test_firecrackers_vm() -> None:
    assert firecracker.argv(Path("/bin/fc")) == (
        *("/bin/fc", "--api-sock", "/vm/api.sock", "--config-file", "/dev/fd/4", "--level", "Error"),
    )
    assert firecracker.vm_config(PLAIN) == {
        "boot-source": {
            "kernel_image_path": "/dev/fd/5",
            "boot_args": "console=ttyS0 quiet reboot=k hyper.off=reset",
        },
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
        "drives": [],
        "network-interfaces": [],
        "vsock": {"guest_cid": 3, "uds_path": "/vm/agent.sock"},
        "entropy": {},
    }
    full = firecracker.vm_config(FULL)
    assert full["boot-source"] == {
        "kernel_image_path": "/dev/fd/5",
        "initrd_path": "/dev/fd/6",
        "boot_args": "console=ttyS0 quiet reboot=k hyper.off=reset hyper.disks=vda:image,vdb:disk-a",
    }
    plain = {"is_root_device": False, "cache_type": "Writeback"}
    assert full["drives"] == [
        {"drive_id": "image", "path_on_host": "/disks/image", "is_read_only": True, **plain},
        {"drive_id": "disk_a", "path_on_host": "/disks/disk-a", "is_read_only": False, **plain},
    ]
    assert full["network-interfaces"] == [
        {"iface_id": "net0", "guest_mac": "52:54:00:12:34:56", "host_dev_name": "guest0"},
        {"iface_id": "net1", "guest_mac": "52:54:00:00:00:02", "host_dev_name": "guest1"},
    ]


@pytest.mark.parametrize(
    ("place", "name"), [(0, "vda"), (25, "vdz"), (26, "vdaa"), (27, "vdab"), (52, "vdba")]
)
def test_what_a_guest_calls_a_disk(place: int, name: str) -> None:
    assert firecracker.device(place) == name


def test_their_api_has_each_field() -> None:
    for spec in (PLAIN, FULL):
        fake_vmm.check(cloud_hypervisor.vm_config(spec), "VmConfig", fake_vmm.CLOUD_HYPERVISOR)
        fake_vmm.check(firecracker.vm_config(spec), "FullVmConfiguration", fake_vmm.FIRECRACKER)
    fake_vmm.check(cloud_hypervisor.net_config(FULL.nics[0], 0), "NetConfig", fake_vmm.CLOUD_HYPERVISOR)
    fake_vmm.check(firecracker.trial_config(5, "", 64), "FullVmConfiguration", fake_vmm.FIRECRACKER)


def test_what_acts_as_them_is_strict() -> None:
    wrong: object
    for wrong in ({"cpu": {}}, {"payload": {}, "serial": {"mode": "tty"}}, {"payload": {"kernel": 5}}, {}):
        with pytest.raises(fake_vmm.Refused):
            fake_vmm.check(wrong, "VmConfig", fake_vmm.CLOUD_HYPERVISOR)
