"""What a VM is, as vSphere is told: pure, of a specification and what was made for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from hypercontainer.hypervisor.esx.inventory import IMAGES, READY
from hypercontainer.hypervisor.esx.vmdk import capacity_of
from hypercontainer.hypervisor.spec import DiskSpec, VMSpec

GUEST = "otherLinux64Guest"
MAX_NAME = 80
# Of devices that are added; vSphere gives them others.  The IDE controller is every machine's from the start.
_SCSI, _SERIAL, _NIC, _DISK, IDE = -1000, -1100, -1200, -1300, 200
SCSI = 1000  # of the controller, once it is there
OWN_UNIT = 7  # on its bus, the controller's
UNITS = 64 - 1
CONSOLE, AGENT = "console", "agent"
_Change: Any = vim.vm.device.VirtualDeviceSpec


@dataclass(frozen=True)
class Lines:
    """``services``: of console and agent port, the names by which the hosts ask for them at ``concentrator``."""

    concentrator: str
    services: Mapping[str, str]


def name_of(spec: VMSpec) -> str:
    """In the inventory, where three characters are escaped, and names are short."""
    name = spec.name.replace("%", "%25").replace("/", "%2f").replace("\\", "%5c")
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 14]}-{spec.id[:12]}"


def unit_of(place: int) -> int:
    """On the bus, of the disk at this place of all that a VM has."""
    return place if place < OWN_UNIT else place + 1


def machine(
    spec: VMSpec, uuid: str, marks: Mapping[str, str], datastore: str, lines: Lines, nics: Sequence[object]
) -> vim.vm.ConfigSpec:
    """A VM with the disks that it writes to, and without what others have too; ``nics``: backings, in order."""
    changes = [
        _add(vim.vm.device.ParaVirtualSCSIController(key=_SCSI, busNumber=0, sharedBus="noSharing")),
        *(_add(_serial(place, kind, lines)) for place, kind in enumerate((CONSOLE, AGENT))),
        *(
            _add(_nic(_NIC - place, nic.mac, backing))
            for place, (nic, backing) in enumerate(zip(spec.nics, nics, strict=True))
        ),
        *(_new_disk(place, disk, datastore) for place, disk in enumerate(spec.disks) if not disk.read_only),
    ]
    return vim.vm.ConfigSpec(
        name=name_of(spec),
        instanceUuid=uuid,
        annotation=f"{spec.name}: made by Hyper, which ends it and removes it with all of its disks.",
        guestId=GUEST,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        memoryMB=spec.memory_mib,
        numCPUs=spec.vcpus,
        extraConfig=options(marks),
        deviceChange=changes,
    )


def booted(datastore: str, iso: str, images: Sequence[tuple[int, str, int]], keys: Sequence[str]) -> Any:
    """What makes of that machine one to be started: the disc that it boots from, and ``images``: for each the place,
    the disk that it is a child of, and the bytes of that."""
    drive = vim.vm.device.VirtualCdrom(
        key=-1,
        controllerKey=IDE,
        unitNumber=0,
        backing=vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=iso),
        connectable=_connected(),
    )
    return vim.vm.ConfigSpec(
        deviceChange=[
            _add(drive),
            *(_child(place, parent, size, datastore) for place, parent, size in images),
        ],
        bootOptions=vim.vm.BootOptions(bootOrder=[vim.vm.BootOptions.BootableCdromDevice()]),
        extraConfig=options({READY: "1", IMAGES: " ".join(keys)}),
    )


def holder(
    name: str, uuid: str, marks: Mapping[str, str], datastore: str, disk: DiskSpec
) -> vim.vm.ConfigSpec:
    """A machine that is never started, and has a disk for others."""
    return vim.vm.ConfigSpec(
        name=name,
        instanceUuid=uuid,
        annotation="A disk that VMs of Hyper read: it is removed with the last of them.",
        guestId=GUEST,
        files=vim.vm.FileInfo(vmPathName=f"[{datastore}]"),
        memoryMB=4,
        numCPUs=1,
        extraConfig=options(marks),
        deviceChange=[
            _add(vim.vm.device.ParaVirtualSCSIController(key=_SCSI, busNumber=0, sharedBus="noSharing")),
            _new_disk(0, disk, datastore),
        ],
    )


def _new_disk(place: int, disk: DiskSpec, datastore: str) -> Any:
    """Of a file of its own, in the machine's directory and with a name that vSphere gives it."""
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName=f"[{datastore}]", diskMode="persistent", thinProvisioned=True
    )
    return _disk(place, capacity_of(size_of(disk)), _SCSI, backing)


def _child(place: int, parent: str, size_bytes: int, datastore: str) -> Any:
    """What is written goes into a file of the machine's own: the parent is read by any number of machines."""
    kind = vim.vm.device.VirtualDisk.FlatVer2BackingInfo
    backing = kind(
        fileName=f"[{datastore}]",
        diskMode="persistent",
        thinProvisioned=True,
        parent=kind(fileName=parent, diskMode="persistent"),
    )
    return _disk(place, capacity_of(size_bytes), SCSI, backing)


def new_nic(mac: str, backing: object) -> Any:
    return _add(_nic(_NIC, mac, backing))


def removed(device: vim.vm.device.VirtualDevice, *, with_file: bool = False) -> Any:
    operations = _Change.FileOperation
    return _Change(
        operation=_Change.Operation.remove,
        device=device,
        fileOperation=operations.destroy if with_file else None,
    )


def size_of(disk: DiskSpec) -> int:
    return sum(size for _, size in disk.extents)


def options(said: Mapping[str, str]) -> list[vim.option.OptionValue]:
    """Texts alone: a number would travel as the smallest type that pyvmomi finds for it."""
    return [vim.option.OptionValue(key=key, value=value) for key, value in said.items()]


def _disk(place: int, capacity: int, controller: int, backing: object) -> Any:
    disk = vim.vm.device.VirtualDisk(
        key=_DISK - place,
        controllerKey=controller,
        unitNumber=unit_of(place),
        capacityInKB=capacity >> 10,
        capacityInBytes=capacity,
        backing=backing,
    )
    change = _add(disk)
    change.fileOperation = _Change.FileOperation.create
    return change


def _serial(place: int, kind: str, lines: Lines) -> vim.vm.device.VirtualSerialPort:
    return vim.vm.device.VirtualSerialPort(
        key=_SERIAL - place,
        unitNumber=place,
        yieldOnPoll=True,
        backing=vim.vm.device.VirtualSerialPort.URIBackingInfo(
            serviceURI=lines.services[kind], direction="server", proxyURI=lines.concentrator
        ),
    )


def _nic(key: int, mac: str, backing: object) -> vim.vm.device.VirtualVmxnet3:
    return vim.vm.device.VirtualVmxnet3(
        key=key, addressType="manual", macAddress=mac, backing=backing, connectable=_connected()
    )


def _connected() -> vim.vm.device.VirtualDevice.ConnectInfo:
    return vim.vm.device.VirtualDevice.ConnectInfo(
        startConnected=True, connected=True, allowGuestControl=False
    )


def _add(device: vim.vm.device.VirtualDevice) -> Any:
    return _Change(operation=_Change.Operation.add, device=device)
