"""Checks a ``VMSpec`` once, at the edge, for every driver: what passes here is safe in a command line."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Iterator, Sequence

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, InvalidArgument, NotSupported
from hypercontainer.hypervisor.spec import DiskSpec, Nic, ShareSpec, Tap, UserNat, VMSpec

SECTOR_BYTES = 512
MIN_MEMORY_MIB = 16
MAX_VCPUS = 255
# Of the 32 places on the root bus, some are the machine's, its devices' and its disks'.
MAX_HOTPLUG_SLOTS = 16
MAX_SHARES = 12
# COMMAND_LINE_SIZE of the x86 kernel, less the final NUL (arch/x86/include/asm/setup.h).
MAX_KERNEL_ARGS_BYTES = 2047
DISK_FORMATS = ("raw", "qcow2", "vdi", "vmdk")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_SERIAL = re.compile(r"[a-z0-9-]{1,20}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# Of a network device: at most IFNAMSIZ, less the final NUL (linux/if.h).
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
_HOSTNAME = re.compile(r"[A-Za-z0-9.-]{0,253}")
_UNPRINTABLE = re.compile(r"[\0-\x1f\x7f]")


def check_spec(spec: VMSpec) -> None:
    """Raises ``InvalidArgument`` or ``NotSupported``, naming the field."""
    _require(_ID.fullmatch(spec.id), f"VM id {spec.id!r}: letters, digits, '_', '.', '-', at most 128")
    _require(not _UNPRINTABLE.search(spec.name), f"VM name {spec.name!r}: no control characters")
    _require(spec.run_dir.is_absolute(), f"run_dir {str(spec.run_dir)!r}: an absolute path")
    _require(spec.memory_mib >= MIN_MEMORY_MIB, f"memory of {spec.memory_mib} MiB: at least {MIN_MEMORY_MIB}")
    _require(1 <= spec.vcpus <= MAX_VCPUS, f"{spec.vcpus} vCPUs: 1 to {MAX_VCPUS}")
    slots = spec.hotplug_slots
    _require(0 <= slots <= MAX_HOTPLUG_SLOTS, f"{slots} hotplug slots: 0 to {MAX_HOTPLUG_SLOTS}")
    for argument in spec.kernel_args:
        _require(not _UNPRINTABLE.search(argument), f"kernel argument {argument!r}: no control characters")
    size = len(" ".join(spec.kernel_args).encode())
    _require(
        size <= MAX_KERNEL_ARGS_BYTES, f"kernel arguments: {size} bytes, at most {MAX_KERNEL_ARGS_BYTES}"
    )
    check_disks(spec.disks)
    serials = {disk.serial for disk in spec.disks} | {disk.serial for disk in spec.remotes}
    _require(len(serials) == len(spec.disks) + len(spec.remotes), "disk serials: one disk each")
    for remote in spec.remotes:
        _require(_SERIAL.fullmatch(remote.serial), f"disk serial {remote.serial!r}: 1 to 20 of a-z, 0-9, '-'")
    check_shares(spec.shares)
    check_nics(spec.nics)


def check_disks(disks: Sequence[DiskSpec]) -> None:
    serials = [disk.serial for disk in disks]
    _require(len(set(serials)) == len(serials), f"disk serials {serials}: one disk each")
    for disk in disks:
        check_disk(disk)


@contextlib.contextmanager
def usable(disk: DiskSpec) -> Iterator[None]:
    """While a VM that runs is given this disk; what its file refuses is said of the disk."""
    check_disk(disk)
    try:
        yield
    except OSError as error:
        raise HypervisorError(f"disk {disk.serial}: {error.filename}: {error.strerror}") from error


def check_disk(disk: DiskSpec) -> None:
    _require(_SERIAL.fullmatch(disk.serial), f"disk serial {disk.serial!r}: 1 to 20 of a-z, 0-9, '-'")
    _require(
        disk.format in DISK_FORMATS, f"disk {disk.serial}: format {disk.format!r}: one of {DISK_FORMATS}"
    )
    _require(bool(disk.extents), f"disk {disk.serial}: at least one extent")
    whole = disk.format == "raw" or len(disk.extents) == 1
    _require(whole, f"disk {disk.serial}: a {disk.format} disk is one file")
    for path, size in disk.extents:
        problem = f"disk {disk.serial}: {path}: {size} bytes: a positive multiple of {SECTOR_BYTES}"
        _require(size > 0 and size % SECTOR_BYTES == 0, problem)
    alone = disk.format == "raw" and len(disk.extents) == 1
    _require(alone or not disk.device, f"disk {disk.serial}: a block device is one raw disk")
    if len(disk.extents) > 1 and not disk.read_only:
        raise NotSupported(f"disk {disk.serial}: a disk of several extents is read-only")


def check_shares(shares: Sequence[ShareSpec]) -> None:
    tags = [share.tag for share in shares]
    _require(len(set(tags)) == len(tags), f"share tags {tags}: one share each")
    _require(len(shares) <= MAX_SHARES, f"{len(shares)} shares: at most {MAX_SHARES}")
    for share in shares:
        _require(_SERIAL.fullmatch(share.tag), f"share tag {share.tag!r}: 1 to 20 of a-z, 0-9, '-'")
        _require(share.path.is_absolute(), f"share {share.tag}: {str(share.path)!r}: an absolute path")


def check_unshared(spec: VMSpec) -> None:
    """That a VM can be saved and cloned: who serves its shares would not know the clone."""
    served = spec.shares or spec.remotes
    _require(not served, f"VM {spec.name}: one with shares or disks of servers is neither saved nor cloned")


def check_nics(nics: Sequence[Nic]) -> None:
    macs = [nic.mac for nic in nics]
    _require(len(set(macs)) == len(macs), f"MAC addresses {macs}: one NIC each")
    for nic in nics:
        check_nic(nic)


def check_nic(nic: Nic) -> None:
    _require(_MAC.fullmatch(nic.mac), f"MAC address {nic.mac!r}: six bytes, xx:xx:xx:xx:xx:xx")
    match nic.backend:
        case UserNat() as network:
            check_nat(network)
        case Tap(control, name):
            _require(_DEVICE.fullmatch(name), f"tap {name!r}: 1 to 15 letters, digits, '_', '.', '-'")
            _require(control.is_absolute(), f"tap {name}: {str(control)!r}: an absolute path")


def plugged_tap(nic: Nic) -> Tap:
    """Of a network interface that is given to a VM that runs: checked.  ``NotSupported`` for one that is NAT."""
    check_nic(nic)
    if isinstance(nic.backend, Tap):
        return nic.backend
    raise NotSupported(f"network interface {nic.mac}: only one with a tap can be attached to a VM that runs")


def check_nat(network: UserNat) -> None:
    _require(
        _HOSTNAME.fullmatch(network.hostname), f"hostname {network.hostname!r}: letters, digits, '.', '-'"
    )
    try:
        guest = ipaddress.IPv4Interface(network.guest_cidr)
        others = [ipaddress.IPv4Address(network.gateway), ipaddress.IPv4Address(network.dns)]
    except ValueError as error:
        raise InvalidArgument(f"user network: {error}") from error
    for address in others:
        _require(address in guest.network, f"user network: {address} is not in {guest.network}")
    _require(len({guest.ip, *others}) == 3, "user network: guest, gateway and DNS need three addresses")
    for port in network.forwards:
        check_forward(port)


def check_forward(port: PortMapping) -> None:
    _require(port.protocol in ("tcp", "udp"), f"port forward: protocol {port.protocol!r}: tcp or udp")
    for number in (port.host_port, port.container_port):
        _require(1 <= number <= 65535, f"port forward: port {number}: 1 to 65535")
    try:
        ipaddress.IPv4Address(port.host_ip)
    except ValueError:
        raise NotSupported(f"port forward: host address {port.host_ip!r}: an IPv4 address") from None


def _require(condition: object, problem: str) -> None:
    if not condition:
        raise InvalidArgument(problem)
