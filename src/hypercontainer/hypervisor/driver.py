"""The seam between the engine and a hypervisor: what a VM is made of, and what can be done to it.

Invariants every driver keeps:

* A VM is a process of its own that outlives this one.  ``VM.close`` lets go of it, ``Driver.adopt`` takes it up
  again, from this process or a later one.
* ``Driver.launch`` either returns a VM or raises and leaves nothing behind: no process, file, socket or cgroup.
* Once ``VM.wait`` or ``VM.kill`` has returned, the process, its run directory and its cgroup are gone.
* Every call that waits for the hypervisor has a deadline of its own and raises ``HypervisorError`` when it passes.

``tests/contract/hypervisor`` states the same as tests, which every driver passes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.remote import RemoteDisk
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.linux.process import Identity
from hypercontainer.linux.users import User

# What a shared file is called in its share, which is a directory that holds nothing else.
SHARED_FILE = "file"
# The file systems by which a guest mounts shares.
VIRTIOFS, P9 = "virtiofs", "9p"


class Accelerator(Enum):
    """How a guest's instructions are run."""

    KVM = "kvm"
    TCG = "tcg"
    NATIVE = "native"  # by the processor, without its virtualization: the guest's kernel is a process


@dataclass(frozen=True)
class DiskSpec:
    """One disk as the guest sees it; what the guest has flushed is on the host's disk.

    ``serial`` is its name in the guest (the virtio serial): 1-20 bytes of ``[a-z0-9-]``, one per VM.  ``extents``
    are ``(raw file, bytes of it)``, presented one after the other as one disk; the bytes are a multiple of 512 and
    no more than the file has.  Several extents make a read-only disk.  ``format`` is of the file: ``raw``, or
    ``qcow2``, ``vdi`` or ``vmdk``, which is one whole file that names no other; its bytes are the disk's and not the
    file's.
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
class Nic:
    """A network interface: ``mac`` is its name in the guest, one per VM, ``backend`` what it leads to."""

    mac: str
    backend: UserNat | Tap


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


@dataclass(frozen=True)
class Helper:
    """A process that serves a VM, ends with it, and whose end is the VM's."""

    name: str
    pid: int
    start_ticks: int


@dataclass(frozen=True)
class VMRecord:
    """What has to be written down to find a VM again.

    ``driver`` is the name of the one that made it, which alone can adopt it (``drivers.Drivers.of``).  ``pid`` alone
    names nothing once it can have been reused: ``start_ticks`` (field 22 of ``/proc/PID/stat``) and ``boot_id`` make it
    unique for good.  ``shares`` is the file system by which the guest mounts its shares, but for those ``together``;
    ``taps`` are its devices from the start, which go with it.
    """

    driver: str
    id: str
    name: str
    pid: int
    start_ticks: int
    boot_id: str
    run_dir: Path
    accelerator: Accelerator
    cgroups: tuple[Path, ...] = ()
    hotplug_slots: int = 0
    helpers: tuple[Helper, ...] = ()
    shares: str = ""
    taps: tuple[Tap, ...] = ()
    waits_for_room: bool = True

    @property
    def identity(self) -> Identity:
        return Identity(self.pid, self.start_ticks, self.boot_id)

    def to_json(self) -> dict[str, object]:
        """A tree of JSON's own types."""
        built = msgspec.to_builtins(self, enc_hook=str)
        assert isinstance(built, dict)
        return built

    @classmethod
    def from_json(cls, tree: object) -> VMRecord:
        """Raises ``HypervisorError`` for a tree that ``to_json`` did not make."""
        try:
            return msgspec.convert(tree, cls, dec_hook=_as_path)
        except msgspec.ValidationError as error:
            raise HypervisorError(f"the record of a VM cannot be read: {error}") from error


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)


class ExitReason(StrEnum):
    """Why a VM is no more."""

    GUEST_SHUTDOWN = "guest-shutdown"  # the guest powered off
    GUEST_RESET = "guest-reset"  # the guest rebooted or panicked: it may not restart
    HOST_KILL = "host-kill"  # this side ended it
    OUT_OF_MEMORY = "out-of-memory"  # the host's memory limit for it was passed
    CRASH = "crash"  # the hypervisor failed, or somebody else killed it
    UNKNOWN = "unknown"  # nobody watched


@dataclass(frozen=True)
class VMExit:
    """``exit_code`` is negative for a signal, None where the process was not our child.

    ``stderr`` is the hypervisor's, ``console`` the guest's last output; both are bounded and fit to be printed.
    """

    exit_code: int | None
    reason: ExitReason
    stderr: str = ""
    console: str = ""

    @property
    def from_outside(self) -> bool:
        """Somebody else killed it, or the host for its memory: that says nothing of what it was made from."""
        killed = self.reason is ExitReason.CRASH and self.exit_code == -signal.SIGKILL
        return killed or self.reason is ExitReason.OUT_OF_MEMORY


@dataclass(frozen=True)
class VMStats:
    """What the hypervisor's process uses."""

    cpu_ns: int
    rss_bytes: int


@dataclass(frozen=True)
class Verdict:
    """Whether an accelerator runs guests here, and how that was found out."""

    accelerator: Accelerator
    usable: bool
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Capabilities:
    """What a driver can do.  ``accelerators`` are those it was built with, not those that work here: see probe.

    ``templates``: its VMs can be saved and cloned; ``drives``: disks are put into one that runs, by ``insert_disk``.
    ``plugs``: one that runs can be given disks and network interfaces for which it had no place before.
    ``memory_step_mib``: their memory is a multiple of so much.
    ``formats``: disks may be of other formats than raw; ``remotes``: servers may have them.
    ``shares`` is the file system by which a guest mounts a share: ``virtiofs`` or ``9p``, or "" where there are none;
    ``together`` whether there are those that other VMs have too.
    ``confinement`` is by what the hypervisor's process is shut in.
    """

    name: str
    version: str
    accelerators: frozenset[Accelerator]
    templates: bool = False
    drives: bool = False
    plugs: bool = True
    memory_step_mib: int = 1
    formats: bool = False
    remotes: bool = False
    sandbox: bool = False
    shares: str = ""
    together: bool = False
    confinement: tuple[str, ...] = ()
    not_limited: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Check:
    """What an examination of the host found of one thing; ``ok`` is None for a fact that is neither good nor bad."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


class VM(Protocol):
    """A running VM, held by this process."""

    @property
    def record(self) -> VMRecord: ...

    @property
    def pid(self) -> int: ...

    async def connect_agent(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection to the guest's agent port.  The port has one peer: the former connection is closed."""

    def keep_agent(self, pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        """Takes a connection back for the next caller of ``connect_agent``; the session on it is over."""

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def paused(self) -> bool:
        """As the hypervisor has it, whoever paused it; one that stands still for a full disk is not."""

    def on_stall(self, told: Callable[[bool], None]) -> None:
        """``told`` is called with True when the host has no room for what the guest writes, so that the VM stands still
        (at once, where it does now), and with False when it goes on, which it does by itself."""

    async def wait(self) -> VMExit:
        """Returns when the VM has ended and nothing of it is left.  Any number of callers, any number of times."""

    async def kill(self) -> VMExit:
        """Ends the VM at once, without asking the guest, and cleans up."""

    async def attach_disk(self, disk: DiskSpec) -> None:
        """Raises ``Unavailable`` where all ``hotplug_slots`` are taken, ``Conflict`` where the serial is."""

    async def detach_disk(self, serial: str, *, timeout_s: float = 10.0) -> None:
        """Asks the guest to give the disk up and waits until it has; ``HypervisorError`` if it does not in time."""

    async def grow_disk(self, serial: str, size_bytes: int) -> None:
        """One that ``grows``, to the size that its file has by now, which the guest is told; ``NotFound``."""

    async def insert_disk(self, disk: DiskSpec) -> None:
        """Into the drive with its serial; the guest may not have looked there yet.  ``NotFound``, ``Conflict``."""

    async def eject_disk(self, serial: str) -> None:
        """Empties a drive that the guest has given up."""

    async def attach_nic(self, nic: Nic) -> None:
        """One with a tap.  Raises ``Unavailable`` where all ``hotplug_slots`` are taken, ``Conflict`` where the MAC
        address is."""

    async def detach_nic(self, mac: str, *, timeout_s: float = 10.0) -> None:
        """One that was attached, as ``detach_disk``; ``NotFound``.  Its tap is gone then."""

    async def add_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        """To the NIC at this place in ``VMSpec.nics``; ``Unavailable`` without one that is NAT, or a free port."""

    async def remove_forward(self, port: PortMapping, *, nic: int = 0) -> None:
        """Raises ``NotFound`` where there is no such forward."""

    async def save(self) -> Snapshot:
        """Ends a VM that was launched to be saved; the session with its guest must be over, its drives empty."""

    def console_tail(self, max_bytes: int = 65536) -> str:
        """The end of what the guest wrote to its serial console, made fit to be printed."""

    async def stats(self) -> VMStats: ...

    async def close(self) -> None:
        """Lets go of the VM, which goes on; who waits for it gets a ``HypervisorError``."""


class Driver(Protocol):
    """One kind of hypervisor."""

    @property
    def name(self) -> str: ...

    @property
    def architecture(self) -> str:
        """Of its VMs' processors (``linux.architectures``)."""

    def check_installed(self) -> None:
        """``Unavailable``, which says what to install, where the hypervisor is not here; runs nothing."""

    async def capabilities(self) -> Capabilities:
        """Raises what ``check_installed`` does."""

    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict:
        """Finds out by booting whether ``accelerator`` runs guests here; with ``kernel``, whether it runs that one.

        Verdicts are remembered until something they depend on changes; ``refresh`` forgets.
        """

    async def diagnose(self) -> list[Check]: ...

    def limits(
        self,
        memory_mib: int,
        cpus: float | None,
        accelerator: Accelerator,
        *,
        boot_files_bytes: int = 0,
        shares: int = 0,
    ) -> Limits:
        """For the hypervisor and what helps it, such that the guest can use all of its ``memory_mib`` and ``cpus``.

        ``boot_files_bytes`` is the size of kernel and initrd; ``shares`` is their number.
        """

    async def launch(self, spec: VMSpec) -> VM:
        """Returns once the hypervisor runs and its sockets answer, which is before the guest has booted."""

    async def fingerprint(self, spec: VMSpec) -> str:
        """Of all that decides what a VM of this kind is like, saved or booted ahead, but for the contents of kernel and
        initrd."""

    async def launch_to_save(self, spec: VMSpec) -> VM:
        """As ``launch``, for ``VM.save``."""

    async def clone(self, spec: VMSpec, snapshot: Snapshot) -> VM:
        """A VM that stands where the saved one stopped, paused, and connected to its agent port.

        ``spec`` is the saved one's but for id, name, run_dir, owner and limits.  ``Unavailable`` where the
        hypervisor will not have the snapshot.
        """

    async def adopt(self, record: VMRecord) -> VM | None:
        """Takes up a VM again; None when it is gone, and then what was left of it has been cleaned up."""

    async def destroy(self, record: VMRecord) -> None:
        """Ends a VM that cannot be adopted, and cleans up after it; nothing happens when it is gone."""
