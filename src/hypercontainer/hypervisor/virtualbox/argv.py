"""From a ``VMSpec`` to command lines of VBoxManage and of the VM's own process: pure, and kept to the letter by golden
tests."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.hypervisor.spec import Existing, Nic, UserNat, VMSpec
from hypercontainer.hypervisor.virtualbox.parsing import Version
from hypercontainer.hypervisor.virtualbox.places import GROUP, VirtualBoxRunDir, machine_name

CONTROLLER = "sata"
MAX_DISKS = 29  # AHCI has 30 ports, of which the first is the disc's
MAX_NICS = 8
MARK = "hyper/id"  # extra data, by which others see whose it is
# The ports of a PC, and what Linux calls the second one.
_PORTS = (("0x3F8", "4"), ("0x2F8", "3"))
AGENT_DEVICE = "/dev/ttyS1"
# Where VirtualBox's NAT has the gateway and the name server, of a network of any size.
_GATEWAY, _NAME_SERVER = 2, 3
_NETWORK = re.compile(r"(bridged|hostonly|intnet|natnetwork):([^\0-\x1f\x7f]{1,255})")
_BY = {"bridged": "bridge-adapter", "hostonly": "host-only-adapter", "intnet": "intnet"}
_BY |= {"natnetwork": "nat-network"}


@dataclass(frozen=True)
class Definition:
    """What a VM is called, and where and by which VirtualBox it is run.  ``driverless``: without a kernel module, by
    software."""

    spec: VMSpec
    uuid: str
    run: VirtualBoxRunDir
    version: Version
    driverless: bool = False


def define(one: Definition) -> list[list[str]]:
    """What VBoxManage is told, in this order; the VM has nothing of another one's."""
    return [_create(one), _modify(one), *_storage(one), *_extra(one)]


def _create(one: Definition) -> list[str]:
    words = ["createvm", "--name", machine_name(one.spec.id), "--groups", GROUP, "--ostype", "Linux26_64"]
    words += ["--uuid", one.uuid, "--basefolder", str(one.run.machines), "--register"]
    return words + (["--platform-architecture", "x86"] if one.version >= (7, 1, 0) else [])


def _modify(one: Definition) -> list[str]:
    spec = one.spec
    words = ["modifyvm", one.uuid, "--description", f"{spec.name}: a VM of Hyper's"]
    words += ["--memory", str(spec.memory_mib), "--cpus", str(spec.vcpus)]
    words += ["--firmware", "bios", "--boot1", "dvd", "--boot2", "none", "--boot3", "none", "--boot4", "none"]
    words += ["--acpi", "on", "--ioapic", "on", "--rtc-use-utc", "on", "--triple-fault-reset", "on"]
    words += ["--vram", "1", "--graphicscontroller", "none", "--audio-enabled", "off", "--vrde", "off"]
    words += ["--usb-ohci", "off", "--usb-ehci", "off", "--usb-xhci", "off", "--mouse", "ps2"]
    words += ["--keyboard", "ps2", "--clipboard-mode", "disabled", "--drag-and-drop", "disabled"]
    modes = (["file", str(one.run.console)], ["server", str(one.run.agent)])
    for number, (port, mode) in enumerate(zip(_PORTS, modes, strict=True), 1):
        words += [f"--uart{number}", *port, f"--uart-type{number}", "16550A", f"--uart-mode{number}", *mode]
    # Left alone, VirtualBox has others go before the thread that is a guest's processor.
    words += ["--vm-process-priority", "flat"]
    words += ["--vm-execution-engine", "recompiler"] if one.driverless else []
    for number, nic in enumerate(spec.nics, 1):
        words += _nic(number, nic, one.version)
    return words


def _nic(number: int, nic: Nic, version: Version) -> list[str]:
    words = [f"--nic-type{number}", "82540EM", f"--mac-address{number}", nic.mac.replace(":", "").upper()]
    match nic.backend:
        case UserNat() as nat:
            network = ipaddress.IPv4Interface(nat.guest_cidr).network
            words += [f"--nic{number}", "nat", f"--nat-net{number}", str(network)]
            words += [f"--nat-localhostreachable{number}", "off"]
            # Later ones have a name server of their own there.
            words += [f"--nat-dns-proxy{number}", "on"] if version < (7, 2, 0) else []
            for port in nat.forwards:
                words += [f"--nat-pf{number}", rule(port, guest_address(nat))]
        case Existing(name):
            kind, name = existing(name)
            words += [f"--nic{number}", kind, f"--{_BY[kind]}{number}", name]
    return words


def _storage(one: Definition) -> Iterator[list[str]]:
    attach = ["storageattach", one.uuid, "--storagectl", CONTROLLER]
    ports = str(1 + len(one.spec.disks))
    # What the guest writes is the host's at once, and stays where the VM's process is killed.
    cache = ["--hostiocache", "on"]
    yield [
        *("storagectl", one.uuid, "--name", CONTROLLER, "--add", "sata", "--portcount", ports),
        *("--bootable", "on", *cache),
    ]
    yield [*attach, "--port", "0", "--device", "0", "--type", "dvddrive", "--medium", str(one.run.boot)]
    for port, disk in enumerate(one.spec.disks, 1):
        place = ["--port", str(port), "--device", "0", "--type", "hdd"]
        yield [*attach, *place, "--medium", str(one.run.descriptor(disk.serial))]


def _extra(one: Definition) -> Iterator[list[str]]:
    device = "VBoxInternal/Devices/ahci/0"
    values = {MARK: one.spec.id, "VBoxInternal/PowerOffInsteadOfReset": "1"}
    for port, disk in enumerate(one.spec.disks, 1):
        values[f"{device}/Config/Port{port}/SerialNumber"] = disk.serial
        if disk.read_only:
            values[f"{device}/LUN#{port}/Config/ReadOnly"] = "1"
    for key, value in values.items():
        yield ["setextradata", one.uuid, key, value]


def run_argv(program: str, identity: str, *, driverless: bool) -> list[str]:
    """Of the VM's own process; ``program`` is VirtualBoxVM, or else VBoxHeadless."""
    if driverless:
        return [program, "--driverless", "--execute-all-in-iem", "--startvm", identity]
    return [program, "--startvm", identity, "--vrde", "off"]


def rule_name(port: PortMapping) -> str:
    return f"{port.protocol}-{port.host_ip}-{port.host_port}-{port.container_port}"


def guest_address(nat: UserNat) -> str:
    return str(ipaddress.IPv4Interface(nat.guest_cidr).ip)


def rule(port: PortMapping, guest: str) -> str:
    """Of a port that is checked; ``guest`` is its address."""
    words = (rule_name(port), port.protocol, port.host_ip, port.host_port, guest, port.container_port)
    return ",".join(map(str, words))


def existing(name: str) -> tuple[str, str]:
    """Kind and name; InvalidArgument."""
    found = _NETWORK.fullmatch(name)
    if found is None:
        hint = "bridged:DEVICE, hostonly:DEVICE, intnet:NAME or natnetwork:NAME"
        raise InvalidArgument(f"network {name!r} is none of VirtualBox's", hint=hint)
    return found[1], found[2]


def check_nics(nics: Sequence[Nic]) -> None:
    """``NotSupported`` for what VirtualBox has not."""
    if len(nics) > MAX_NICS:
        raise NotSupported(f"{len(nics)} network interfaces: VirtualBox has {MAX_NICS}")
    for nic in nics:
        match nic.backend:
            case UserNat() as nat:
                _check_nat(nat)
            case Existing(name):
                existing(name)
            case _:
                what = "VirtualBox has no tap devices of others"
                raise NotSupported(f"network interface {nic.mac}: {what}", hint="use the network `user`")


def _check_nat(nat: UserNat) -> None:
    first = ipaddress.IPv4Interface(nat.guest_cidr).network.network_address
    its = (str(first + _GATEWAY), str(first + _NAME_SERVER))
    if (nat.gateway, nat.dns) != its:
        what = f"VirtualBox has gateway and name server at {' and '.join(its)}"
        raise NotSupported(f"user network {nat.guest_cidr}: {what}")
    if nat.restrict:
        raise NotSupported("user network: VirtualBox cannot cut a guest off from everything but its ports")
