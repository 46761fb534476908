"""Machines of ours in vSphere: made, started, ended and removed with all that they have.  All of it blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyVmomi import vim, vmodl

from hypercontainer.errors import Conflict, HypervisorError, NotFound, NotSupported
from hypercontainer.hypervisor.esx import hardware, inventory, transfer
from hypercontainer.hypervisor.esx.faults import Gone
from hypercontainer.hypervisor.esx.inventory import ID, OWNER, READY, Machine, Place
from hypercontainer.hypervisor.esx.journal import Journal
from hypercontainer.hypervisor.esx.session import Live, properties
from hypercontainer.hypervisor.spec import DiskSpec, Existing, Nic, VMSpec

ISO = "boot.iso"


@dataclass(frozen=True)
class Making:
    """Of one VM.  ``images``: for each disk that is only read, its place, its disk's path and its bytes."""

    spec: VMSpec
    uuid: str
    lines: hardware.Lines
    iso: Path
    images: tuple[tuple[int, str, int], ...]
    keys: tuple[str, ...]


def create(live: Live, journal: Journal, making: Making) -> Machine:
    """A machine that is ready to be started."""
    where, spec = inventory.place(live), making.spec
    marks = {OWNER: journal.owner, ID: spec.id}
    nics = [backing(live, nic) for nic in spec.nics]
    config = hardware.machine(spec, making.uuid, marks, where.datastore_name, making.lines, nics)
    config.name = _free_name(live, journal, where, spec)
    written = [disk for disk in spec.disks if not disk.read_only]
    if written:
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(transfer.packed(disk, journal.spool)) for disk in written]
            ref = transfer.take_in(live, where, config, streams)
    else:
        ref = live.finish(where.folder.CreateVM_Task(config, where.pool, where.host))
    machine = inventory.look(live, ref, journal.owner)
    with making.iso.open("rb") as file:
        transfer.put_file(live, where, iso_of(machine).partition("] ")[2], file)
    booted = hardware.booted(where.datastore_name, iso_of(machine), making.images, making.keys)
    live.finish(ref.ReconfigVM_Task(booted))
    return machine


def _free_name(live: Live, journal: Journal, where: Place, spec: VMSpec) -> str:
    """That of the VM, or one besides where another one of ours has that.  Nobody else's is taken a second time, which
    a host, and the simulator, would not mind."""
    name = hardware.name_of(spec)
    there = live.content.searchIndex.FindChild(where.folder, name)
    if there is None:
        return name
    try:
        inventory.look(live, there, journal.owner)
    except Gone:
        raise vim.fault.DuplicateName(name=spec.name) from None
    return f"{name[: hardware.MAX_NAME - 14]}-{spec.id[:12]}"


def iso_of(machine: Machine) -> str:
    return f"{machine.directory}/{ISO}"


def backing(live: Live, nic: Nic) -> Any:
    """Of a NIC in a network that is there."""
    if not isinstance(nic.backend, Existing):
        raise NotSupported(
            f"network interface {nic.mac}: VMs of vSphere are in networks that it has already",
            hint="one by the name of a port group",
        )
    found = inventory.network(live, nic.backend.network)
    card = vim.vm.device.VirtualEthernetCard
    if isinstance(found, vim.dvs.DistributedVirtualPortgroup):
        said = properties(live, found, "key", "config.distributedVirtualSwitch")
        switch = properties(live, said["config.distributedVirtualSwitch"], "uuid")
        port = vim.dvs.PortConnection(portgroupKey=said["key"], switchUuid=switch["uuid"])
        return card.DistributedVirtualPortBackingInfo(port=port)
    if isinstance(found, vim.OpaqueNetwork):
        summary = properties(live, found, "summary")["summary"]
        kind = card.OpaqueNetworkBackingInfo
        return kind(opaqueNetworkId=summary.opaqueNetworkId, opaqueNetworkType=summary.opaqueNetworkType)
    return card.NetworkBackingInfo(deviceName=nic.backend.network, network=found)


def start(live: Live, machine: Machine) -> None:
    """Nothing happens to one that runs."""
    with _is_already("poweredOn"):
        live.finish(machine.ref.PowerOnVM_Task(None))


def suspend(live: Live, machine: Machine) -> None:
    """Nothing happens to one that is suspended."""
    with _is_already("suspended"):
        live.finish(machine.ref.SuspendVM_Task())


@contextlib.contextmanager
def _is_already(state: str) -> Iterator[None]:
    """Of a machine that is in this state a task to bring it there is refused."""
    try:
        yield
    except vim.fault.InvalidPowerState as error:
        if error.existingState != state:
            raise


def plug_nic(live: Live, machine: Machine, nic: Nic) -> None:
    if _nic_of(live, machine, nic.mac) is not None:
        raise Conflict(f"network interface {nic.mac} is attached already")
    change = hardware.new_nic(nic.mac, backing(live, nic))
    live.finish(machine.ref.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))


def unplug_nic(live: Live, machine: Machine, mac: str) -> None:
    device = _nic_of(live, machine, mac)
    if device is None:
        raise NotFound(f"no network interface {mac} is attached")
    live.finish(machine.ref.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[hardware.removed(device)])))


def _nic_of(live: Live, machine: Machine, mac: str) -> Any:
    devices = properties(live, machine.ref, "config.hardware.device")["config.hardware.device"]
    return next((each for each in devices if getattr(each, "macAddress", None) == mac), None)


def power_off(live: Live, machine: Machine) -> None:
    """Nothing happens to one that is off."""
    try:
        live.finish(machine.ref.PowerOffVM_Task())
    except vim.fault.InvalidPowerState as error:
        if error.existingState == "suspended":  # which some versions want to be on before it can be off
            live.finish(machine.ref.PowerOnVM_Task(None))
            live.finish(machine.ref.PowerOffVM_Task())


def give_back(live: Live, machine: Machine, disks: Sequence[DiskSpec], folder: Path) -> None:
    """What the machine, which is off, has written to these disks, into their files here."""
    devices = properties(live, machine.ref, "config.hardware.device")["config.hardware.device"]
    read = [device for device in devices if _is_child(device)]
    if read:
        changes = [hardware.removed(device, with_file=True) for device in read]
        live.finish(machine.ref.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=changes)))
    transfer.give_out(live, machine.ref, disks, folder)


def _is_child(device: Any) -> bool:
    return (
        isinstance(device, vim.vm.device.VirtualDisk) and getattr(device.backing, "parent", None) is not None
    )


def remove(live: Live, machine: Machine) -> None:
    """With its files.  What is gone already is no error."""
    where = inventory.place(live)
    power_off(live, machine)
    with contextlib.suppress(vim.fault.FileNotFound, vim.fault.FileFault):  # else its directory would stay
        live.finish(live.content.fileManager.DeleteDatastoreFile_Task(iso_of(machine), where.datacenter))
    live.finish(machine.ref.Destroy_Task())


def finished(live: Live, machine: Machine, disks: Sequence[DiskSpec], folder: Path) -> None:
    """Ends it, takes what it has written, removes it."""
    power_off(live, machine)
    if disks and machine.said.get(READY):
        give_back(live, machine, disks, folder)
    remove(live, machine)


def whole(live: Live, uuid: str, owner: str, work: Callable[[Machine], None]) -> bool:
    """``work`` on a machine of ours; False where there is none, or none any more."""
    machine = _found(live, uuid, owner)
    if machine is None:
        return False
    try:
        work(machine)
    except vmodl.fault.ManagedObjectNotFound as error:
        if error.obj is None or error.obj._moId != machine.ref._moId:
            raise
        return False
    return True


# ------------------------------------------------------------------------------------- images


def hold(live: Live, journal: Journal, key: str, disk: DiskSpec) -> str:
    """The path of the disk that children of this image have as their parent; it is brought there where it is not."""
    where, uuid = inventory.place(live), journal.image_uuid(key)
    journal.use_image(key)
    machine = _found(live, uuid, journal.owner)
    if machine is not None and not machine.said.get(READY):
        remove(live, machine)  # whoever brought it came to an end before it was there
        machine = None
    if machine is None:
        config = hardware.holder(
            f"hyper-image-{key}-{journal.owner[:8]}", uuid, {OWNER: journal.owner}, where.datastore_name, disk
        )
        with transfer.packed(disk, journal.spool) as stream:
            ref = transfer.take_in(live, where, config, [stream])
        live.finish(ref.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=hardware.options({READY: "1"}))))
        machine = inventory.look(live, ref, journal.owner)
    return _path_of(live, machine)


def _found(live: Live, uuid: str, owner: str) -> Machine | None:
    try:
        return inventory.find(live, uuid, owner)
    except Gone:
        return None


def _path_of(live: Live, machine: Machine) -> str:
    devices = properties(live, machine.ref, "config.hardware.device")["config.hardware.device"]
    for device in devices:
        if isinstance(device, vim.vm.device.VirtualDisk):
            return str(device.backing.fileName)
    raise HypervisorError(
        "an image in vSphere has lost its disk", hint="remove its machine there: it is made anew"
    )


def release(live: Live, journal: Journal, keep: int) -> None:
    """Of the images that no VM has any more, all but those that were used last."""
    for key in journal.unused()[keep:]:
        whole(live, journal.image_uuid(key), journal.owner, lambda machine: remove(live, machine))
        journal.forget_image(key)
