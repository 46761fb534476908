"""From a ``VMSpec`` to QEMU's command line: pure, and kept to the letter by golden tests.

QEMU opens nothing by a path of ours: it is handed descriptors, in the order of ``plan_fds``, and finds kernel and
initrd as ``/dev/fd/N`` and disks as ``/dev/fdset/N``.  Set N holds descriptor N.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import msgspec

from hypercontainer.hypervisor.qemu.binary import SANDBOX, Binary
from hypercontainer.hypervisor.qemu.machines import PCI, Bus
from hypercontainer.hypervisor.qemu.overhead import TCG_CACHE_MIB
from hypercontainer.hypervisor.remote import RemoteDisk
from hypercontainer.hypervisor.spec import (
    HARDWARE,
    VIRTIOFS,
    Accelerator,
    DiskSpec,
    DriveSpec,
    Nic,
    ShareSpec,
    Tap,
    VMSpec,
)

AGENT_PORT = "hyper.agent"
# The first descriptor that is QEMU's: 3 is the launcher's gate.
FIRST_FD = 4
# Larger than any disk that is put in: a guest may have looked at the size before.
EMPTY_DRIVE_BYTES = 1 << 44
# Requests that a guest may have waiting at a share; QEMU's default, 128, slows many files down.
SHARE_QUEUE = 1024
# Formats in which a file may name another that it begins with; a VDI's is known by its ID, which QEMU refuses.
BACKED = ("qcow2", "vmdk")
# In the host's page cache, and the guest's flushes are honoured.
_CACHE = {"direct": False, "no-flush": False}


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
    memory: int | None = None
    nics: tuple[int, ...] = ()
    shares: tuple[int, ...] = ()
    remotes: tuple[int, ...] = ()


class Role(Enum):
    """What a QEMU is started for.  What is saved has its memory in a file, of which a clone has a private mapping."""

    BOOT = "boot"
    SAVE = "save"
    CLONE = "clone"


def plan_fds(spec: VMSpec, role: Role = Role.BOOT) -> FdPlan:
    qmp, agent, console, kernel = range(FIRST_FD, FIRST_FD + 4)
    free = kernel + 1
    initrd = None
    if spec.initrd is not None and role is not Role.CLONE:
        initrd, free = free, free + 1
    disks = []
    for disk in spec.disks:
        extents = tuple(range(free, free + len(disk.extents)))
        free += len(extents)
        descriptor = None
        if len(extents) > 1:
            descriptor, free = free, free + 1
        disks.append(DiskFds(extents, descriptor))
    memory = None
    if role is not Role.BOOT:
        memory, free = free, free + 1
    nics = tuple(range(free, free + len(spec.nics)))
    free += len(nics)
    shares = tuple(range(free, free + len(spec.shares)))
    free += len(shares)
    remotes = tuple(range(free, free + len(spec.remotes)))
    return FdPlan(qmp, agent, console, kernel, initrd, tuple(disks), memory, nics, shares, remotes)


def qemu_argv(
    binary: Binary, spec: VMSpec, fds: FdPlan, role: Role = Role.BOOT, shares: str = ""
) -> list[str]:
    """The whole command line; ``shares`` is the file system by which the guest mounts directories of the host."""
    argv = [*common_argv(binary, spec.accelerator), "-name", f"guest={_option(spec.name)}"]
    argv += _memory(spec, fds, role, shares)
    bus = binary.machine.bus
    argv += ["-m", f"{spec.memory_mib}M", "-smp", str(spec.vcpus), *firmware_argv(binary)]
    if role is not Role.CLONE or binary.machine.clones_name_kernel:
        argv += ["-kernel", f"/dev/fd/{fds.kernel}"]
    if fds.initrd is not None:
        argv += ["-initrd", f"/dev/fd/{fds.initrd}"]
    if role is not Role.CLONE:
        argv += ["-append", " ".join(spec.kernel_args)]
    argv += _listener("qmp", fds.qmp) + ["-mon", "chardev=qmp,mode=control"]
    argv += _listener("console", fds.console) + ["-serial", "chardev:console"]
    argv += ["-device", f"{bus.plain('virtio-serial')},max_ports=2"]
    argv += _listener("agent", fds.agent) + ["-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"]
    argv += ["-device", bus.plain("virtio-rng")]
    reporting = ",free-page-reporting=on" if binary.free_page_reporting else ""
    argv += ["-device", f"{bus.plain('virtio-balloon')}{reporting}"]
    for disk, numbers in zip(spec.disks, fds.disks, strict=True):
        argv += _disk(disk, numbers, bus, waits=spec.waits_for_room)
    for remote, number in zip(spec.remotes, fds.remotes, strict=True):
        argv += _remote(remote, number, bus, waits=spec.waits_for_room)
    for drive in spec.drives:
        argv += drive_argv(drive, bus, waits=spec.waits_for_room)
    for share, number in zip(spec.shares, fds.shares, strict=True):
        argv += _share(share, number, share.filesystem(shares), bus)
    for place, (nic, number) in enumerate(zip(spec.nics, fds.nics, strict=True)):
        argv += _nic(nic, netdev(place), number, binary)
    for number in range(1, spec.hotplug_slots + 1) if bus.slots else ():
        argv += ["-device", f"pcie-root-port,id={slot_id(number)},chassis={number},slot={number}"]
    # No guest runs before this side listens: QEMU drops what is said on a console that nobody has connected to.
    argv.append("-S")
    return [*argv, "-incoming", "defer"] if role is Role.CLONE else argv


def _memory(spec: VMSpec, fds: FdPlan, role: Role, shares: str) -> list[str]:
    if fds.memory is None:
        # virtiofsd reads and writes the guest's memory.
        backend = f"memory-backend-memfd,id=ram,size={spec.memory_mib}M,share=on"
        virtiofs = any(share.filesystem(shares) == VIRTIOFS for share in spec.shares)
        return ["-machine", "memory-backend=ram", "-object", backend] if virtiofs else []
    share = "on" if role is Role.SAVE else "off"
    backend = f"id=ram,size={spec.memory_mib}M,mem-path=/dev/fd/{fds.memory},share={share}"
    return ["-machine", "memory-backend=ram", "-object", f"memory-backend-file,{backend}"]


def common_argv(binary: Binary, accelerator: Accelerator) -> list[str]:
    """What every QEMU started here has: a VM's, and a probe's, which so tests what a VM gets."""
    argv = [str(binary.path), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    argv += ["-sandbox", SANDBOX] if binary.sandbox else []
    argv += ["-machine", binary.machine.options]
    if accelerator in HARDWARE:
        return [*argv, "-accel", accelerator.value, "-cpu", "host"]
    return [*argv, "-accel", f"tcg,tb-size={TCG_CACHE_MIB}", "-cpu", binary.machine.cpu]


def firmware_argv(binary: Binary) -> list[str]:
    """What does nothing but start a kernel, where there is one; else QEMU's usual, if any."""
    return ["-bios", binary.machine.quick_firmware] if binary.qboot else []


def _listener(name: str, fd: int) -> list[str]:
    return ["-chardev", f"socket,id={name},fd={fd},server=on,wait=off"]


def _disk(disk: DiskSpec, fds: DiskFds, bus: Bus, *, waits: bool) -> list[str]:
    argv: list[str] = []
    for fd in [*fds.extents, *([] if fds.descriptor is None else [fds.descriptor])]:
        argv += ["-add-fd", f"fd={fd},set={fd},opaque={node_name(disk.serial)}"]
    first = fds.extents[0] if fds.descriptor is None else fds.descriptor
    node = msgspec.json.encode(blockdev(disk, fdset(first))).decode()
    device = msgspec.json.encode(block_device(disk, bus, waits=waits)).decode()
    return [*argv, "-blockdev", node, "-device", device]


def _remote(disk: RemoteDisk, fd: int, bus: Bus, *, waits: bool) -> list[str]:
    """A disk that a server has, by the process that has to do with the server (``remote_disks``)."""
    nbd = {"driver": "nbd", "server": {"type": "fd", "str": str(fd)}, "export": ""}
    common = {"read-only": disk.read_only, "discard": "unmap", "cache": _CACHE}
    node = {"driver": "raw", "node-name": node_name(disk.serial), **common, "file": {**nbd, **common}}
    device = _block_device(disk.serial, node_name(disk.serial), bus, waits=waits)
    return ["-blockdev", msgspec.json.encode(node).decode(), "-device", msgspec.json.encode(device).decode()]


def drive_argv(drive: DriveSpec, bus: Bus, *, waits: bool) -> list[str]:
    """A drive, empty."""
    nodes = [
        {
            "driver": "null-co",
            "node-name": empty_name(drive.serial),
            "size": EMPTY_DRIVE_BYTES,
            "read-zeroes": True,
            "read-only": drive.read_only,
        },
        drive_node(drive.serial, empty_name(drive.serial), read_only=drive.read_only),
    ]
    device = _block_device(drive.serial, drive_name(drive.serial), bus, waits=waits)
    argv = [word for node in nodes for word in ("-blockdev", msgspec.json.encode(node).decode())]
    return [*argv, "-device", msgspec.json.encode(device).decode()]


def drive_node(serial: str, file: str, *, read_only: bool) -> dict[str, object]:
    """The node that a drive's device holds on to, whatever disk is in it (``blockdev-add``, ``blockdev-reopen``)."""
    return {
        "driver": "raw",
        "node-name": drive_name(serial),
        "read-only": read_only,
        "discard": "unmap",
        "file": file,
    }


def drive_name(serial: str) -> str:
    return f"drive-{serial}"


def empty_name(serial: str) -> str:
    return f"empty-{serial}"


def _share(share: ShareSpec, fd: int, filesystem: str, bus: Bus) -> list[str]:
    name = f"share-{share.tag}"
    if filesystem == VIRTIOFS:
        backend = ["-chardev", f"socket,id={name},fd={fd}"]
        virtiofs = bus.device("vhost-user-fs")
        device = {"driver": virtiofs, "chardev": name, "tag": share.tag, "queue-size": SHARE_QUEUE}
    else:
        backend = ["-fsdev", f"proxy,id={name},sock_fd={fd}"]
        device = {"driver": bus.device("virtio-9p"), "fsdev": name, "mount_tag": share.tag, **bus.modern}
    return [*backend, "-device", msgspec.json.encode(device).decode()]


def netdev(nic: int) -> str:
    """The network of the NIC at this place of the specification."""
    return f"net{nic}"


def _nic(nic: Nic, name: str, fd: int, binary: Binary) -> list[str]:
    if isinstance(nic.backend, Tap):
        backend = f"tap,id={name},fd={fd},vhost=off"
    elif binary.datagrams:
        backend = f"dgram,id={name},local.type=fd,local.str={fd}"
    else:
        backend = f"socket,id={name},fd={fd}"
    return [
        "-netdev",
        backend,
        "-device",
        msgspec.json.encode(nic_device(nic, name, binary.machine.bus)).decode(),
    ]


def nic_device(nic: Nic, netdev: str, bus: Bus) -> dict[str, object]:
    """The ``device_add`` arguments for a network interface."""
    device: dict[str, object] = {
        "driver": bus.device("virtio-net"),
        "id": nic_id(nic.mac),
        "netdev": netdev,
        "mac": nic.mac,
        **bus.modern,
        "guest_announce": False,  # a clone has nobody to tell that it has moved
    }
    return device | {"romfile": ""} if bus is PCI else device


def nic_id(mac: str) -> str:
    return f"nic-{mac.replace(':', '-')}"


def fdset(number: int) -> str:
    """How QEMU opens a descriptor it was handed."""
    return f"/dev/fdset/{number}"


def node_name(serial: str) -> str:
    """A disk's block node, and the mark on its descriptors."""
    return f"disk-{serial}"


def device_id(serial: str) -> str:
    return f"dev-{serial}"


def slot_id(number: int) -> str:
    """A place for what is plugged in; they count from 1."""
    return f"slot{number}"


def blockdev(disk: DiskSpec, filename: str) -> dict[str, object]:
    """The ``blockdev-add`` arguments for a disk in ``filename``: a file, a block device, or our VMDK descriptor."""
    locking = "on" if disk.locked or not disk.read_only else "off"
    file: dict[str, object] = {
        "driver": "host_device" if disk.device else "file",
        "filename": filename,
        "locking": locking,
        "discard": "unmap",
        "cache": _CACHE,
    }
    node: dict[str, object] = {
        "driver": "raw",
        "node-name": node_name(disk.serial),
        "read-only": disk.read_only,
        "discard": "unmap",
        "cache": _CACHE,
        "file": file,
    }
    if disk.format != "raw":
        node["driver"] = disk.format
        if disk.format in BACKED:
            node["backing"] = None  # whatever its header says by now: no other file is opened for it
    elif len(disk.extents) > 1:
        node["driver"] = "vmdk"
    elif not disk.grows:  # QEMU does not resize what it was told a size of
        node["size"] = disk.extents[0][1]
    return node


def block_device(disk: DiskSpec, bus: Bus, *, waits: bool) -> dict[str, object]:
    """The ``device_add`` arguments for a disk.  ``waits``: see ``VMSpec.waits_for_room``."""
    return _block_device(disk.serial, node_name(disk.serial), bus, waits=waits)


def _block_device(serial: str, drive: str, bus: Bus, *, waits: bool) -> dict[str, object]:
    return {
        "driver": bus.device("virtio-blk"),
        "id": device_id(serial),
        "drive": drive,
        "serial": serial,
        # It stops the VM where the host's disk is full (``stall``), and tells the guest of all else; or of that too.
        "werror": "enospc" if waits else "report",
        **bus.modern,
    }


def _option(text: str) -> str:
    """A value in QEMU's ``key=value,...`` syntax, where a comma is doubled."""
    return text.replace(",", ",,")
