"""What a VM is made of, whichever driver starts it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from hypercontainer.contract.spec import PortMapping
from hypercontainer.hypervisor.remote import RemoteDisk
from hypercontainer.linux.users import User

# What a shared file is called in its share, which is a directory that holds nothing else.
SHARED_FILE = "file"
# The file systems by which a guest mounts shares.
VIRTIOFS, P9 = "virtiofs", "9p"
# The backends of NICs, as capabilities name them.
NAT, TAP, EXISTING = "nat", "tap", "existing"
NICS = (NAT, TAP, EXISTING)


class Accelerator(Enum):
    """How a guest's instructions are run."""

    KVM = "kvm"
    TCG = "tcg"
    NATIVE = "native"  # by the processor, without its virtualization: the guest's kernel is a process
    HVF = "hvf"  # macOS's
    OWN = "own"  # by the hypervisor's own means, which are not ours to choose


# A guest's instructions are the processor's, with what that has for it.
HARDWARE = frozenset({Accelerator.KVM, Accelerator.HVF})


@dataclass(frozen=True)
class DiskSpec:
    """One disk as the guest sees it; what the guest has flushed is on the host's disk.

    ``serial`` is its name in the guest (the virtio serial): 1-20 bytes of ``[a-z0-9-]``, one per VM.  ``extents``
    are ``(raw file, bytes of it)``, presented one after the other as one disk; the bytes are a multiple of 512 and
    no more than the file has; up to the next MiB a hypervisor may have zeros after them.  Several extents make a
    read-only disk.  ``format`` is of the file: ``raw``, or ``qcow2``, ``vdi`` or ``vmdk``, which is one whole file that
    names no other; its bytes are the disk's and not the file's.
    ``device``: it is no file, but a block device, which this VM has alone where it may write to it.
    ``user``: whose file it is, which is opened with no more rights than that user has; None is this process's own.
    ``locked``: its readers keep writers away, and its writer everybody, other hyperds' VMs too; what is not locked and
    read-only has no writer.  ``grows``: it is all of one raw file, and has more of it when that has become longer
    (``VM.grow_disk``).
    """

    serial: str
    extents: tuple[tuple[Path, int], ...]
    read_only: bool
    format: str = "raw"
    user: User | None = None
    locked: bool = False
    grows: bool = False
    device: bool = False


@dataclass(frozen=True)
class DriveSpec:
    """A drive that the guest has from the start and a disk is put into later (``VM.insert_disk``), named by its serial.

    Unlike a slot for a disk that is plugged in, it is this disk's alone, and all VMs with the same drives look alike.
    """

    serial: str
    read_only: bool


@dataclass(frozen=True)
class ShareSpec:
    """A directory or a file of the host that the guest mounts by ``tag`` (1-20 bytes of ``[a-z0-9-]``, one per VM).

    A file's share is a directory with ``SHARED_FILE`` in it.  ``path`` is absolute, and no part of it is a link.
    ``user``: with whose rights the guest reads and writes; None is this process's own, and then, for root, what a
    guest's user makes belongs to the host's user of the same number.  For anybody else it all belongs to ``user``.
    ``together``: a directory that other VMs have too and write to at the same time.  Its guest mounts it as virtiofs.
    """

    tag: str
    path: Path
    read_only: bool
    user: User | None = None
    together: bool = False

    def filesystem(self, of_hosts: str) -> str:
        """By which the guest mounts it, where directories of the host are mounted by ``of_hosts``."""
        return VIRTIOFS if self.together else of_hosts


@dataclass(frozen=True)
class UserNat:
    """A network of this NIC's own, which a process beside the VM translates to the host's with no rights but a user's.

    The guest has ``guest_cidr``, that process ``gateway`` and, as a name server, ``dns``.  The host's loopback address
    is out of reach.  ``forwards`` are ports of the host that
    lead to the guest's, none of them 0.  ``restrict`` cuts the guest off from everything but these.
    """

    guest_cidr: str
    gateway: str
    dns: str
    forwards: tuple[PortMapping, ...] = ()
    restrict: bool = False
    hostname: str = ""

    def as_seen(self) -> UserNat:
        """By the guest."""
        return replace(self, forwards=())


@dataclass(frozen=True)
class Tap:
    """A tap device in a network namespace of ours, which the driver has made when the VM is launched, and dropped when
    that has ended.

    ``control`` is the socket of the namespace's keeper (``linux.netns``), absolute; ``name`` is the device's there.
    """

    control: Path
    name: str

    def as_seen(self) -> Tap:
        """By the guest, to whom one is like the other."""
        return Tap(Path(), "")


@dataclass(frozen=True)
class Existing:
    """A network that the hypervisor has already, by its name there: libvirt's, a port group, a bridge."""

    network: str

    def as_seen(self) -> Existing:
        """By the guest, to whom one is like the other."""
        return Existing("")


@dataclass(frozen=True)
class Nic:
    """A network interface: ``mac`` is its name in the guest, one per VM, ``backend`` what it leads to."""

    mac: str
    backend: UserNat | Tap | Existing


@dataclass(frozen=True)
class Limits:
    """What the hypervisor's process may use of the host, guest memory included; None is no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None


@dataclass(frozen=True)
class VMSpec:
    """Everything a driver needs to start a VM.

    ``run_dir`` must not exist: the driver makes it (0700) and removes it with the VM.  ``owner_uid`` is the uid and
    gid that the hypervisor runs as when this process is root; None keeps this process's own.  ``hotplug_slots`` is
    how many disks and network interfaces can be attached later at a time; each costs the guest's start about 10 ms of
    emulation.  ``waits_for_room``: it stands still where its host has no room for what it writes to a disk
    (``VM.on_stall``); else the guest is told that the write has failed, and its other disks and VMs do not notice.
    A VM that is saved, the clones of it, and one that is booted before anybody needs it have ``drives`` instead of
    disks: all their devices are the same.  A VM with ``shares`` or ``remotes``, disks that servers have, can be none of
    these.
    """

    id: str
    name: str
    run_dir: Path
    kernel: Path
    initrd: Path | None
    kernel_args: tuple[str, ...]
    memory_mib: int
    vcpus: int
    disks: tuple[DiskSpec, ...] = ()
    drives: tuple[DriveSpec, ...] = ()
    shares: tuple[ShareSpec, ...] = ()
    remotes: tuple[RemoteDisk, ...] = ()
    nics: tuple[Nic, ...] = ()
    accelerator: Accelerator = Accelerator.TCG
    owner_uid: int | None = None
    limits: Limits | None = None
    hotplug_slots: int = 2
    waits_for_room: bool = True

    @property
    def forwards(self) -> list[tuple[int, PortMapping]]:
        """Of all NICs, each with its NIC's place in ``nics``."""
        nats = [(place, nic.backend) for place, nic in enumerate(self.nics)]
        return [(place, port) for place, nat in nats if isinstance(nat, UserNat) for port in nat.forwards]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """In the order of the NICs."""
        return tuple(nic.backend for nic in self.nics if isinstance(nic.backend, Tap))

    def as_seen(self) -> VMSpec:
        """The same VM, without what its guest does not see of its network interfaces."""
        return replace(self, nics=tuple(replace(nic, backend=nic.backend.as_seen()) for nic in self.nics))
