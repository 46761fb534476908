"""From a ``VMSpec`` to what Firecracker is told, a file of JSON: pure, and kept to the letter by golden tests."""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor.spec import DiskSpec, VMSpec
from hypercontainer.hypervisor.vmm.places import AGENT, API, seen_disk, seen_socket
from hypercontainer.hypervisor.vmm.tapped import tap_name
from hypercontainer.hypervisor.vmm.vmm import FIRST_FD
from hypercontainer.hypervisor.vmm.vsock import CID

CONFIG_FD, KERNEL_FD, INITRD_FD = range(FIRST_FD, FIRST_FD + 3)
# It has no switch that a guest could turn it off by: the keyboard's reset line is all there is.
ENDING = ("reboot=k", "hyper.off=reset")


def argv(path: Path) -> tuple[str, ...]:
    return (str(path), "--api-sock", seen_socket(API), "--config-file", f"/dev/fd/{CONFIG_FD}", *QUIET)


QUIET = ("--level", "Error")


def vm_config(spec: VMSpec) -> dict[str, object]:
    """``FullVmConfiguration``, of a specification that is checked."""
    boot = {"kernel_image_path": f"/dev/fd/{KERNEL_FD}", "boot_args": " ".join(arguments(spec))}
    boot |= {"initrd_path": f"/dev/fd/{INITRD_FD}"} if spec.initrd is not None else {}
    return {
        "boot-source": boot,
        "machine-config": {"vcpu_count": spec.vcpus, "mem_size_mib": spec.memory_mib},
        "drives": [_drive(disk) for disk in spec.disks],
        "network-interfaces": [
            {"iface_id": f"net{place}", "guest_mac": nic.mac, "host_dev_name": tap_name(place)}
            for place, nic in enumerate(spec.nics)
        ],
        "vsock": {"guest_cid": CID, "uds_path": seen_socket(AGENT)},
        "entropy": {},
    }


def arguments(spec: VMSpec) -> tuple[str, ...]:
    """Of the kernel.  Its disks have no serials; so which is which is said there, in their order."""
    if not spec.disks:
        return (*spec.kernel_args, *ENDING)
    named = ",".join(f"{device(place)}:{disk.serial}" for place, disk in enumerate(spec.disks))
    return (*spec.kernel_args, *ENDING, f"hyper.disks={named}")


def device(place: int) -> str:
    """What a guest calls the virtio disk at this place: vda, and vdaa after vdz."""
    letters = ""
    while place >= 0:
        letters = chr(ord("a") + place % 26) + letters
        place = place // 26 - 1
    return f"vd{letters}"


def _drive(disk: DiskSpec) -> dict[str, object]:
    return {
        "drive_id": disk.serial.replace("-", "_"),  # letters, digits and this; a serial has none of it
        "path_on_host": seen_disk(disk.serial),
        "is_root_device": False,
        "is_read_only": disk.read_only,
        "cache_type": "Writeback",  # what the guest flushes is on the host's disk
    }


def trial_config(kernel: int, arguments: str, memory_mib: int) -> dict[str, object]:
    return {
        "boot-source": {"kernel_image_path": f"/dev/fd/{kernel}", "boot_args": arguments},
        "machine-config": {"vcpu_count": 1, "mem_size_mib": memory_mib},
    }


def trial(path: Path, config: int) -> list[str]:
    return [str(path), "--no-api", "--config-file", f"/dev/fd/{config}", *QUIET]
