"""The seam between the engine and a hypervisor: what can be done to a VM (``spec`` says what it is made of).

Invariants every driver keeps:

* A VM, a process of its own or what another program runs, outlives this process.  ``VM.close`` lets go of it,
  ``Driver.adopt`` takes it up again, from this process or a later one.
* ``Driver.launch`` either returns a VM or raises and leaves nothing behind: no process, file, socket or cgroup, and
  nothing in the hypervisor.
* Once ``VM.wait`` or ``VM.kill`` has returned, the VM, its run directory and its cgroup are gone.
* Every call that waits for the hypervisor has a deadline of its own and raises ``HypervisorError`` when it passes.
* What a driver's ``Capabilities`` do not state raises ``NotSupported``.
* A VM that this driver did not make is never touched, whatever it is called.

``hypercontainer.suite`` states the same as tests, which every driver passes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from hypercontainer.contract.devices import VIRTIO
from hypercontainer.contract.networks import Subnet
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.snapshot import Snapshot
from hypercontainer.hypervisor.spec import NAT, TAP, Accelerator, DiskSpec, Limits, Nic, Tap, VMSpec
from hypercontainer.linux.process import Identity


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
    unique for good.  They are 0 and "" where it is no process of this machine's.  ``foreign`` is what names it where
    another program runs it (a UUID, a connection), which the driver alone reads.  ``boot_id`` is also of the
    ``helpers``.  ``shares`` is the file system by which the guest mounts its shares, but for those ``together``;
    ``taps`` are its devices from the start, which go with it.
    """

    driver: str
    id: str
    name: str
    run_dir: Path
    accelerator: Accelerator
    pid: int = 0
    start_ticks: int = 0
    boot_id: str = ""
    foreign: dict[str, str] = field(default_factory=dict)
    cgroups: tuple[Path, ...] = ()
    hotplug_slots: int = 0
    helpers: tuple[Helper, ...] = ()
    shares: str = ""
    taps: tuple[Tap, ...] = ()
    waits_for_room: bool = True

    @property
    def identity(self) -> Identity | None:
        """None where it is no process of this machine's."""
        return Identity(self.pid, self.start_ticks, self.boot_id) if self.pid else None

    @property
    def where(self) -> str:
        """In words."""
        return f"with PID {self.pid}" if self.pid else f"in {self.driver}"

    def is_same(self, other: VMRecord) -> bool:
        """One VM, whatever else was written down of it at what time."""
        names = (self.driver, self.id, self.identity, self.foreign)
        return names == (other.driver, other.id, other.identity, other.foreign)

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
    """What the hypervisor's process uses, or what the hypervisor says that the VM does."""

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

    ``devices``: which drivers its guests' kernels need (``contract.devices``); ``console`` is their device for it,
    "" the kernel's usual; ``line`` is what ``hyper.port`` says to them, "" where the agent finds its port by itself.
    ``nics``: what these may lead to, of ``NICS``; ``live_ports``: forwards come and go while a VM runs.
    ``pauses``: VMs can be; ``grows``: disks that they use can.
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
    devices: str = VIRTIO
    console: str = ""
    line: str = ""
    nics: frozenset[str] = frozenset({NAT, TAP})
    live_ports: bool = True
    pauses: bool = True
    grows: bool = True
    memory_step_mib: int = 1
    formats: bool = False
    remotes: bool = False
    sandbox: bool = False
    shares: str = ""
    together: bool = False
    confinement: tuple[str, ...] = ()
    not_limited: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Lan:
    """A network that a hypervisor has already, by its name there, and what a guest in it is to be told.  ``subnet``
    has a gateway, and a range of addresses that are for pods and that nobody else gives away."""

    network: str
    subnet: Subnet
    dns: tuple[str, ...] = ()


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
    def pid(self) -> int:
        """0 where it is no process of this machine's."""

    async def connect_agent(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection to the guest's agent port.  The port has one peer: the former connection is closed, and
        hears nothing of what the guest says from now on."""

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
        """One with a tap, or in a network that exists.  Raises ``Unavailable`` where all ``hotplug_slots`` are taken,
        ``Conflict`` where the MAC address is."""

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

    async def lan(self) -> Lan:
        """Which pods are in that are in the hypervisor's own network.  ``NotSupported`` where it has none,
        ``Unavailable`` where none is named, or not there."""

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
