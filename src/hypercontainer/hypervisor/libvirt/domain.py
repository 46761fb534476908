"""From a ``VMSpec`` to the XML of libvirt's domain, and the mark by which it is known to be ours: pure.

What libvirt has words for is said in its words.  The rest is QEMU's command line: what of the machine is left out,
drives that are empty until their disks' descriptors are handed over, and ports into which network interfaces and more
disks are plugged.  libvirt places what it knows where it is told to, and QEMU the rest beside that.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from hypercontainer.hypervisor.libvirt import markup
from hypercontainer.hypervisor.qemu.argv import AGENT_PORT, drive_argv, firmware_argv, slot_id
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.overhead import TCG_CACHE_MIB
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, DriveSpec, Existing, VMSpec

QEMU_NS = "http://libvirt.org/schemas/domain/qemu/1.0"
MARK_NS = "urn:hypercontainer:libvirt:1"
MARK_KEY = "hyper"
# What of a q35 libvirt has no words for.
LEFT_OUT = "sata=off,smbus=off,i8042=off"
# A domain's name becomes that of files.
MAX_NAME_BYTES = 128
MAX_SOCKET_BYTES = 107  # sockaddr_un, less the final NUL
FIRST_NIC = 4  # of libvirt's networks: its slot, after those of what every VM has
_NAMESPACE = uuid.UUID("6f2b6b3a-2f0c-5a4e-9c39-0d7c8e1f6a55")

Element = ElementTree.Element


@dataclass(frozen=True)
class Plan:
    """What a domain has beside its specification: ``kernel`` and ``initrd`` where its QEMU can read them, ``owner`` as
    whom it runs (uid, gid), None for libvirt's usual; ``machine`` is libvirt's name of it, ``state`` whose it is."""

    binary: Binary
    kernel: Path
    initrd: Path | None
    owner: tuple[int, int] | None
    machine: str
    state: Path


@dataclass(frozen=True)
class Mark:
    """``state``: the driver's folder, one a hyperd."""

    state: str
    run_dir: str


def uuid_of(run_dir: Path) -> str:
    """Of the VM in this run directory: there is one in it at a time, and never another afterwards."""
    return str(uuid.uuid5(_NAMESPACE, str(run_dir)))


def wire_port(place: int) -> str:
    """Into which the network interface at this place of the specification is plugged."""
    return f"wire{place}"


def names(spec: VMSpec) -> tuple[str, str]:
    """Of its domain, as far as libvirt takes the VM's: and a second for where another of our VMs has that."""
    plain = (
        spec.name.replace("/", "_").encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(" .") or spec.id
    )
    return plain, f"{plain} {spec.id}"


def domain_xml(spec: VMSpec, plan: Plan, name: str) -> str:
    """``name``: one of ``names``."""
    kvm = spec.accelerator is Accelerator.KVM
    domain = ElementTree.Element("domain", {"type": "kvm" if kvm else "qemu"})
    _text(domain, "name", name)
    _text(domain, "uuid", uuid_of(spec.run_dir))
    _text(domain, "title", f"Hyper: {spec.name}")
    _text(domain, "description", f"VM {spec.id} of Hyper, which starts it and ends it")
    mark = _add(_add(domain, "metadata"), f"{{{MARK_NS}}}vm", state=str(plan.state))
    mark.set("run-dir", str(spec.run_dir))
    _text(domain, "memory", str(spec.memory_mib), unit="MiB", dumpCore="off")
    _add(_add(domain, "memoryBacking"), "nosharepages")
    _text(domain, "vcpu", str(spec.vcpus))
    _os(domain, spec, plan)
    _processor(domain, kvm=kvm)
    for end in ("poweroff", "reboot", "crash"):
        _text(domain, f"on_{end}", "destroy")
    _devices(_add(domain, "devices"), spec, plan)
    if plan.owner is not None:
        label = _add(domain, "seclabel", type="static", model="dac", relabel="no")
        _text(label, "label", "+{}:+{}".format(*plan.owner))
    line = _add(domain, f"{{{QEMU_NS}}}commandline")
    for argument in _arguments(spec, plan.binary):
        _add(line, f"{{{QEMU_NS}}}arg", value=argument)
    # With it libvirt asks QEMU for some 400 properties of the processor at each start, one by one, and for two without.
    forgotten = _add(_add(domain, f"{{{QEMU_NS}}}capabilities"), f"{{{QEMU_NS}}}del")
    forgotten.set("capability", "cpu-unavailable-features")
    ElementTree.register_namespace("qemu", QEMU_NS)
    ElementTree.register_namespace(MARK_KEY, MARK_NS)
    ElementTree.indent(domain)
    return ElementTree.tostring(domain, encoding="unicode") + "\n"


def _os(domain: Element, spec: VMSpec, plan: Plan) -> None:
    system = _add(domain, "os")
    _text(system, "type", "hvm", arch="x86_64", machine=plan.machine)
    _text(system, "kernel", str(plan.kernel))
    if plan.initrd is not None:
        _text(system, "initrd", str(plan.initrd))
    _text(system, "cmdline", " ".join(spec.kernel_args))


def _processor(domain: Element, *, kvm: bool) -> None:
    features = _add(domain, "features")
    for name in ("acpi", "apic"):
        _add(features, name)
    for name in ("smm", "vmport"):
        _add(features, name, state="off")
    if kvm:
        _add(domain, "cpu", mode="host-passthrough", check="none", migratable="off")
    else:
        _text(_add(features, "tcg"), "tb-cache", str(TCG_CACHE_MIB), unit="MiB")
        _add(domain, "cpu", mode="maximum", check="none")
    _add(_add(domain, "clock", offset="utc"), "timer", name="hpet", present="no")


def _devices(devices: Element, spec: VMSpec, plan: Plan) -> None:
    run = RunDir(spec.run_dir)
    _text(devices, "emulator", str(plan.binary.path))
    _add(devices, "controller", type="usb", model="none")
    serial = _add(devices, "controller", type="virtio-serial", index="0", ports="2")
    _place(serial, 1)
    channel = _add(devices, "channel", type="unix")
    _add(channel, "source", mode="bind", path=str(run.agent))
    _add(channel, "target", type="virtio", name=AGENT_PORT)
    console = _add(devices, "serial", type="unix")
    _add(console, "source", mode="bind", path=str(run.console))
    _add(console, "target", type="isa-serial", port="0")
    reporting = {"freePageReporting": "on"} if plan.binary.free_page_reporting else {}
    _place(_add(devices, "memballoon", model="virtio", **reporting), 2)
    for place, nic in enumerate(spec.nics):
        if isinstance(nic.backend, Existing):
            interface = _add(devices, "interface", type="network")
            _add(interface, "mac", address=nic.mac)
            _add(interface, "source", network=nic.backend.network)
            _add(interface, "model", type="virtio")
            _add(interface, "rom", enabled="no")
            _place(interface, FIRST_NIC + place)
    random = _add(devices, "rng", model="virtio")
    _text(random, "backend", "/dev/urandom", model="random")
    _place(random, 3)
    _add(_add(devices, "video"), "model", type="none")


def _arguments(spec: VMSpec, binary: Binary) -> list[str]:
    bus = binary.machine.bus
    argv = ["-machine", LEFT_OUT, *firmware_argv(binary)]
    for drive in (*map(_drive, spec.disks), *spec.drives):
        argv += drive_argv(drive, bus, waits=spec.waits_for_room)
    ours = [place for place, nic in enumerate(spec.nics) if not isinstance(nic.backend, Existing)]
    ports = [wire_port(place) for place in ours]
    ports += [slot_id(number) for number in range(1, spec.hotplug_slots + 1)]
    for number, name in enumerate(ports, 1):
        # As JSON, or QEMU would begin with these, and have them where libvirt places its own.
        port = {"driver": "pcie-root-port", "id": name, "chassis": number, "slot": number}
        argv += ["-device", msgspec.json.encode(port).decode()]
    return argv


def _drive(disk: DiskSpec) -> DriveSpec:
    """What the guest has a disk in."""
    return DriveSpec(disk.serial, disk.read_only)


def read_mark(xml: str) -> Mark | None:
    """From the metadata of a domain, which may be anybody's; None where it is none of ours."""
    try:
        found = markup.read(xml)
    except ValueError:
        return None
    if found.tag not in ("vm", f"{{{MARK_NS}}}vm"):
        return None
    return Mark(found.get("state", ""), found.get("run-dir", ""))


def _place(device: Element, slot: int) -> None:
    """On the machine's first bus."""
    _add(device, "address", type="pci", bus="0x00", slot=f"0x{slot:02x}", function="0x0")


def _add(parent: Element, tag: str, **attributes: str) -> Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    _add(parent, tag, **attributes).text = text
