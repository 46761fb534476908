"""From a ``VMSpec`` to what Cloud Hypervisor is told: pure, and kept to the letter by golden tests.

Its command line has descriptors alone; the VM is made of JSON (``PUT /api/v1/vm.create``), and each NIC is added to it
before it boots, since a tap's descriptor goes along with a request of its own.
"""

from __future__ import annotations

from pathlib import Path

from hypercontainer.hypervisor.spec import DiskSpec, Nic, VMSpec
from hypercontainer.hypervisor.vmm.places import AGENT, seen_disk, seen_socket
from hypercontainer.hypervisor.vmm.vmm import FIRST_FD
from hypercontainer.hypervisor.vmm.vsock import CID

API_FD, EVENTS_FD, KERNEL_FD, INITRD_FD = range(FIRST_FD, FIRST_FD + 4)
RANDOM = "/dev/urandom"


def argv(path: Path) -> tuple[str, ...]:
    return (str(path), "--api-socket", f"fd={API_FD}", "--event-monitor", f"fd={EVENTS_FD}")


def vm_config(spec: VMSpec) -> dict[str, object]:
    """``VmConfig``, of a specification that is checked."""
    payload = {"kernel": f"/dev/fd/{KERNEL_FD}", "cmdline": " ".join(spec.kernel_args)}
    payload |= {"initramfs": f"/dev/fd/{INITRD_FD}"} if spec.initrd is not None else {}
    return {
        "cpus": {"boot_vcpus": spec.vcpus, "max_vcpus": spec.vcpus},
        "memory": {"size": spec.memory_mib << 20},
        "payload": payload,
        "disks": [_disk(disk) for disk in spec.disks],
        "rng": {"src": RANDOM},
        "balloon": {"size": 0, "free_page_reporting": True},
        "serial": {"mode": "Tty"},  # its standard output
        "console": {"mode": "Off"},
        "vsock": {"cid": CID, "socket": seen_socket(AGENT)},
    }


def _disk(disk: DiskSpec) -> dict[str, object]:
    return {
        "id": f"disk-{disk.serial}",
        "serial": disk.serial,
        "path": seen_disk(disk.serial),
        "readonly": disk.read_only,
        # Whatever a guest has made its first bytes look like: no other file is opened for it.
        "image_type": "Raw",
        "backing_files": False,
    }


def net_config(nic: Nic, place: int) -> dict[str, object]:
    """``NetConfig``, of one whose tap goes along; for both directions a queue."""
    return {"id": f"net{place}", "mac": nic.mac, "num_queues": 2}


def trial(path: Path, kernel: int, arguments: str, memory_mib: int) -> list[str]:
    words = [str(path), "--kernel", f"/dev/fd/{kernel}", "--cmdline", arguments]
    return [*words, "--memory", f"size={memory_mib}M", "--serial", "tty", "--console", "off"]
