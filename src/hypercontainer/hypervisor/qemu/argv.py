"""From a ``VMSpec`` to QEMU's command line: pure, and kept to the letter by golden tests.

QEMU opens nothing by a path of ours: it is handed descriptors, in the order of ``plan_fds``, and finds kernel and
initrd as ``/dev/fd/N`` and disks as ``/dev/fdset/N``.  Set N holds descriptor N.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from hypercontainer.hypervisor.driver import Accelerator, DiskSpec, PortForward, UserNetwork, VMSpec
from hypercontainer.hypervisor.resources import TCG_CACHE_MIB

AGENT_PORT = "hyper.agent"
NETDEV = "net0"
# The first descriptor that is QEMU's: 3 is the launcher's gate.
FIRST_FD = 4
# Everything that costs start time or is one more thing for a guest to attack.  ACPI stays: it is how disks are
# plugged in and how a guest powers off.  Guests' pages are not merged with others': that tells them about each other.
MACHINE = "pc,usb=off,hpet=off,smbus=off,vmport=off,i8042=off,mem-merge=off,dump-guest-core=off"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
_CACHE: Mapping[str, Mapping[str, bool]] = {
    "writeback": {"direct": False, "no-flush": False},
    "unsafe": {"direct": False, "no-flush": True},
    "none": {"direct": True, "no-flush": False},
}


@dataclass(frozen=True)
class DiskFds:
    """``descriptor`` is the VMDK text, where the disk has several extents."""

    extents: tuple[int, ...]
    descriptor: int | None


@dataclass(frozen=True)
class FdPlan:
    """Which descriptor of QEMU is what; without gaps from ``FIRST_FD``, in the order of the fields."""

    qmp: int
    agent: int
    console: int
    kernel: int
    initrd: int | None
    disks: tuple[DiskFds, ...]


def plan_fds(spec: VMSpec) -> FdPlan:
    qmp, agent, console, kernel = range(FIRST_FD, FIRST_FD + 4)
    free = kernel + 1
    initrd = None
    if spec.initrd is not None:
        initrd, free = free, free + 1
    disks = []
    for disk in spec.disks:
        extents = tuple(range(free, free + len(disk.extents)))
        free += len(extents)
        descriptor = None
        if len(extents) > 1:
            descriptor, free = free, free + 1
        disks.append(DiskFds(extents, descriptor))
    return FdPlan(qmp, agent, console, kernel, initrd, tuple(disks))


def qemu_argv(
    binary: str, spec: VMSpec, fds: FdPlan, *, sandbox: bool, free_page_reporting: bool
) -> list[str]:
    """The whole command line."""
    argv = [binary, "-name", f"guest={_option(spec.name)}", "-nodefaults", "-no-user-config"]
    argv += ["-display", "none", "-no-reboot"]
    if sandbox:
        argv += ["-sandbox", SANDBOX]
    argv += accelerator_argv(spec.accelerator)
    argv += ["-m", f"{spec.memory_mib}M", "-smp", str(spec.vcpus)]
    argv += ["-kernel", f"/dev/fd/{fds.kernel}"]
    if fds.initrd is not None:
        argv += ["-initrd", f"/dev/fd/{fds.initrd}"]
    argv += ["-append", " ".join(spec.kernel_args)]
    argv += _listener("qmp", fds.qmp) + ["-mon", "chardev=qmp,mode=control"]
    argv += _listener("console", fds.console) + ["-serial", "chardev:console"]
    argv += ["-device", "virtio-serial-pci,disable-legacy=on,max_ports=2"]
    argv += _listener("agent", fds.agent) + ["-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"]
    argv += ["-device", "virtio-rng-pci,disable-legacy=on"]
    reporting = ",free-page-reporting=on" if free_page_reporting else ""
    argv += ["-device", f"virtio-balloon-pci,disable-legacy=on{reporting}"]
    for disk, numbers in zip(spec.disks, fds.disks, strict=True):
        argv += _disk(disk, numbers)
    if spec.network is not None:
        argv += _network(spec.network)
    return argv


def accelerator_argv(accelerator: Accelerator) -> list[str]:
    """The machine and its processor, which a probe tests and a VM gets."""
    if accelerator is Accelerator.TCG:
        # A named model may be unknown to an older QEMU; max is not.
        return ["-machine", MACHINE, "-accel", f"tcg,tb-size={TCG_CACHE_MIB}", "-cpu", "max"]
    return ["-machine", MACHINE, "-accel", "kvm", "-cpu", "host"]


def _listener(name: str, fd: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]


def _disk(disk: DiskSpec, fds: DiskFds) -> list[str]:
    argv: list[str] = []
    for fd in [*fds.extents, *([] if fds.descriptor is None else [fds.descriptor])]:
        argv += ["-add-fd", f"fd={fd},set={fd},opaque={node_name(disk.serial)}"]
    first = fds.extents[0] if fds.descriptor is None else fds.descriptor
    node = msgspec.json.encode(blockdev(disk, fdset(first))).decode()
    device = msgspec.json.encode(block_device(disk)).decode()
    return [*argv, "-blockdev", node, "-device", device]


def _network(network: UserNetwork) -> list[str]:
    guest = ipaddress.IPv4Interface(network.guest_cidr)
    options = [
        f"user,id={NETDEV},net={guest.network},host={network.gateway},dns={network.dns}",
        f"dhcpstart={guest.ip},ipv6=off,restrict={'on' if network.restrict else 'off'}",
    ]
    if network.hostname:
        options.append(f"hostname={network.hostname}")
    options += [f"hostfwd={hostfwd(forward)}" for forward in network.forwards]
    device = f"virtio-net-pci,netdev={NETDEV},mac={network.mac},disable-legacy=on,romfile="
    return ["-netdev", ",".join(options), "-device", device]


def fdset(number: int) -> str:
    """How QEMU opens a descriptor it was handed."""
    return f"/dev/fdset/{number}"


def node_name(serial: str) -> str:
    """A disk's block node, and the mark on its descriptors."""
    return f"disk-{serial}"


def device_id(serial: str) -> str:
    return f"dev-{serial}"


def blockdev(disk: DiskSpec, filename: str) -> dict[str, object]:
    """The ``blockdev-add`` arguments for a disk in ``filename``, a raw file or a VMDK descriptor."""
    cache = _CACHE[disk.cache]
    # A read-only file is shared by any number of VMs and has no writer; a lock on it protects nothing.
    locking = "off" if disk.read_only else "on"
    file: dict[str, object] = {
        "driver": "file",
        "filename": filename,
        "locking": locking,
        "discard": "unmap",
        "cache": cache,
    }
    node: dict[str, object] = {
        "driver": "raw",
        "node-name": node_name(disk.serial),
        "read-only": disk.read_only,
        "discard": "unmap",
        "cache": cache,
        "file": file,
    }
    if len(disk.extents) == 1:
        node["size"] = disk.extents[0][1]
    else:
        node["driver"] = "vmdk"
    return node


def block_device(disk: DiskSpec) -> dict[str, object]:
    """The ``device_add`` arguments for a disk."""
    return {
        "driver": "virtio-blk-pci",
        "id": device_id(disk.serial),
        "drive": node_name(disk.serial),
        "serial": disk.serial,
        "disable-legacy": "on",
    }


def hostfwd(forward: PortForward) -> str:
    """The rule as ``-netdev`` and ``hostfwd_add`` take it; no guest address means the first that DHCP gives."""
    return f"{hostfwd_key(forward)}-:{forward.guest_port}"


def hostfwd_key(forward: PortForward) -> str:
    """What ``hostfwd_remove`` takes."""
    return f"{forward.protocol}:{forward.host_ip}:{forward.host_port}"


def needs_low_port(forwards: Sequence[PortForward], first_free_port: int) -> bool:
    return any(forward.host_port < first_free_port for forward in forwards)


def _option(text: str) -> str:
    """A value in QEMU's ``key=value,...`` syntax, where a comma is doubled."""
    return text.replace(",", ",,")
