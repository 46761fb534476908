"""What is asked of the guest, and what it answers: plain records, each field with its tag on the wire.

``fields.encode`` and ``fields.decode`` turn any of them into bytes and back.  What the guest checks of a request
(``guest/init/rules.c``) is made of ``REQUESTS`` by ``tools/make_wire.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from hypercontainer.agent.fields import ALWAYS, AtMost
from hypercontainer.agent.wire import NAME_MAX, Operation, Tag

UNLIMITED = (1 << 64) - 1

# ---------------------------------------------------------------------------------------- CONFIGURE


@dataclass(frozen=True, slots=True)
class Interface:
    """``mac``: 6 bytes, finds the device; ``name`` is the name it gets; addresses as "10.0.2.15/24".

    Without an IPv6 address it has no IPv6.  ``new_mac`` is what a clone's device gets instead of its template's.
    ``down``: it leads nowhere any more, and no route goes by it.  ``gateways`` are the way to everywhere; ``routes`` to
    elsewhere: "10.9.0.0/16 10.1.1.1", or "10.1.1.1/32" of what is on the link.
    """

    mac: Annotated[bytes, Tag.MAC]
    name: Annotated[str, Tag.NAME, AtMost(15)]
    addresses: Annotated[tuple[str, ...], Tag.ADDRESS] = ()
    gateways: Annotated[tuple[str, ...], Tag.GATEWAY] = ()
    mtu: Annotated[int | None, Tag.MTU] = None
    new_mac: Annotated[bytes | None, Tag.NEW_MAC] = None
    down: Annotated[bool, Tag.DOWN] = False
    routes: Annotated[tuple[str, ...], Tag.ROUTE] = ()


@dataclass(frozen=True, slots=True)
class Sysctl:
    """``name`` as sysctl(8) has it: "net.ipv4.ip_forward"."""

    name: Annotated[str, Tag.NAME]
    value: Annotated[str, Tag.VALUE]


@dataclass(frozen=True, slots=True)
class VmConfig:
    """The VM as a whole.  ``entropy`` is credited to the kernel's pool before anything reads from it."""

    hostname: Annotated[str, Tag.HOSTNAME, ALWAYS]
    domainname: Annotated[str, Tag.DOMAINNAME, ALWAYS]
    time_ns: Annotated[int, Tag.TIME_NS, ALWAYS]
    entropy: Annotated[bytes, Tag.ENTROPY, ALWAYS]
    interfaces: Annotated[tuple[Interface, ...], Tag.INTERFACE] = ()
    sysctls: Annotated[tuple[Sysctl, ...], Tag.SYSCTL] = ()


# --------------------------------------------------------------------------------- CONTAINER_CREATE


@dataclass(frozen=True, slots=True)
class Disk:
    """``serial`` is the disk's virtio serial, ``filesystem`` what is on it ("erofs", "ext4", ...).

    ``offset_bytes`` and ``length_bytes``: only that part of the disk.  ``directory``: what is written goes into that
    directory of it, which is one name.  ``root_hash``: of ``data_bytes``, which begin there and have their tree of
    hashes behind them."""

    serial: Annotated[str, Tag.SERIAL]
    filesystem: Annotated[str, Tag.FILESYSTEM]
    offset_bytes: Annotated[int | None, Tag.OFFSET] = None
    length_bytes: Annotated[int | None, Tag.LENGTH] = None
    directory: Annotated[str, Tag.DIRECTORY] = ""
    data_bytes: Annotated[int | None, Tag.SIZE] = None
    root_hash: Annotated[str, Tag.ROOT_HASH] = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """``flags``: MS_* of mount(2); ``data``: the file system's own options; ``serial``: a disk as source.

    A bind mount's ``source`` is a place in the container's root, or "VOLUME/path/below" of the pod's; ``copy_up``: the
    directory that the root has at ``target`` is copied into that, where it is empty.
    """

    type: Annotated[str, Tag.TYPE]
    target: Annotated[str, Tag.TARGET]
    source: Annotated[str, Tag.SOURCE] = ""
    flags: Annotated[int, Tag.FLAGS] = 0
    data: Annotated[str, Tag.MOUNT_DATA] = ""
    read_only: Annotated[bool, Tag.READ_ONLY] = False
    serial: Annotated[str, Tag.SERIAL] = ""
    copy_up: Annotated[bool, Tag.COPY_UP] = False


@dataclass(frozen=True, slots=True)
class File:
    """A file written into the root; with ``bind`` kept off the writable disk and bind-mounted.  ``owner``:
    "user[:group]" looked up in the root, in place of ``uid`` and ``gid``.  ``joined``, with ``bind``: paths; the first
    that is a file in the root goes before ``content``.  Where none is, and ``path`` is one of them, none is bound."""

    path: Annotated[str, Tag.PATH]
    mode: Annotated[int, Tag.MODE]
    content: Annotated[bytes, Tag.CONTENT]
    uid: Annotated[int, Tag.UID] = 0
    gid: Annotated[int, Tag.GID] = 0
    bind: Annotated[bool, Tag.BIND] = False
    owner: Annotated[str, Tag.OWNER] = ""
    joined: Annotated[tuple[str, ...], Tag.JOINED] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """``mode`` with S_IFCHR or S_IFBLK."""

    path: Annotated[str, Tag.PATH]
    mode: Annotated[int, Tag.MODE]
    major: Annotated[int, Tag.MAJOR]
    minor: Annotated[int, Tag.MINOR]
    uid: Annotated[int, Tag.UID] = 0
    gid: Annotated[int, Tag.GID] = 0


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container's root and what is mounted in it.  Without ``upper`` the root is read-only, or with
    ``scratch`` writable in memory.  ``cpu_max`` as cgroup v2 has it; ``pid_mode`` 1 shares the pod's.  ``cwd`` is made
    if it is missing."""

    container: Annotated[str, Tag.CONTAINER]
    lower: Annotated[Disk, Tag.LOWER]
    upper: Annotated[Disk | None, Tag.UPPER] = None
    read_only: Annotated[bool, Tag.READ_ONLY] = False
    scratch: Annotated[bool, Tag.SCRATCH] = False
    mounts: Annotated[tuple[Mount, ...], Tag.MOUNT] = ()
    files: Annotated[tuple[File, ...], Tag.FILE] = ()
    devices: Annotated[tuple[Device, ...], Tag.DEVICE] = ()
    masked_paths: Annotated[tuple[str, ...], Tag.MASKED_PATH] = ()
    readonly_paths: Annotated[tuple[str, ...], Tag.READONLY_PATH] = ()
    sysctls: Annotated[tuple[Sysctl, ...], Tag.SYSCTL] = ()
    pid_mode: Annotated[int, Tag.PID_MODE] = 0
    memory_max_bytes: Annotated[int | None, Tag.MEMORY_MAX] = None
    cpu_max: Annotated[str | None, Tag.CPU_MAX] = None
    cpu_weight: Annotated[int | None, Tag.CPU_WEIGHT] = None
    pids_max: Annotated[int | None, Tag.PIDS_MAX] = None
    privileged: Annotated[bool, Tag.PRIVILEGED] = False
    cwd: Annotated[str | None, Tag.CWD] = None


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a template has ready for its clones: interfaces that need only their own MAC, and what nearly every
    container's root has in it.  ``release_disks`` for kernels that read a disk's size when its driver is bound.

    All that was put off is done, interfaces are up, and some containers are half made: one whose mounts and devices
    begin with these, and whose paths are these, takes one of them over.
    """

    interfaces: Annotated[tuple[Interface, ...], Tag.INTERFACE] = ()
    release_disks: Annotated[bool, Tag.RELEASE_DISKS] = False
    mounts: Annotated[tuple[Mount, ...], Tag.MOUNT] = ()
    devices: Annotated[tuple[Device, ...], Tag.DEVICE] = ()
    masked_paths: Annotated[tuple[str, ...], Tag.MASKED_PATH] = ()
    readonly_paths: Annotated[tuple[str, ...], Tag.READONLY_PATH] = ()


# -------------------------------------------------------------------------------------- VOLUME_ADD


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a volume is: as ``Mount``, without a place of its own."""

    type: Annotated[str, Tag.TYPE]
    source: Annotated[str, Tag.SOURCE] = ""
    flags: Annotated[int, Tag.FLAGS] = 0
    data: Annotated[str, Tag.MOUNT_DATA] = ""
    read_only: Annotated[bool, Tag.READ_ONLY] = False
    serial: Annotated[str, Tag.SERIAL] = ""
    others: Annotated[tuple[str, ...], Tag.OTHER_DATA] = ()  # in place of ``data``, where that is not spoken
    hostname: Annotated[str, Tag.HOSTNAME] = ""  # the guest's, to a server


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """Storage that the pod's containers share: ``mount``, or a directory of the disk ``upper``, made if missing, or the
    disk ``lower``, which nobody writes.

    ``gid``: its root gets this group, set-group-ID and what the group needs to write; ``mode``: its root's, where that
    is made.  ``tidy``: an empty lost+found goes; ``grow``: its ext4 gets all of its disk.  ``files`` are written into
    it (their paths relative to it).  "hyper.shm" is always there: 64 MiB of memory for the containers' /dev/shm.
    """

    name: Annotated[str, Tag.NAME, AtMost(NAME_MAX)]
    mount: Annotated[FileSystem | None, Tag.MOUNT] = None
    upper: Annotated[Disk | None, Tag.UPPER] = None
    lower: Annotated[Disk | None, Tag.LOWER] = None
    gid: Annotated[int | None, Tag.GID] = None
    mode: Annotated[int | None, Tag.MODE] = None
    files: Annotated[tuple[File, ...], Tag.FILE] = ()
    read_only: Annotated[bool, Tag.READ_ONLY] = False
    tidy: Annotated[bool, Tag.TIDY] = False
    grow: Annotated[bool, Tag.GROW] = False


@dataclass(frozen=True, slots=True)
class VolumeName:
    name: Annotated[str, Tag.NAME, AtMost(NAME_MAX)]


@dataclass(frozen=True, slots=True)
class VolumeGrow(VolumeName):
    size_bytes: Annotated[int, Tag.SIZE]  # of its disk, by now


@dataclass(frozen=True, slots=True)
class VolumeFreeze(VolumeName):
    frozen: Annotated[bool, Tag.FROZEN] = False
    limit_ms: Annotated[int, Tag.LIMIT_MS] = 0  # how long, from now on


# ------------------------------------------------------------------------ PROCESS_START and control


@dataclass(frozen=True, slots=True)
class Rlimit:
    """``resource``: RLIMIT_*; ``UNLIMITED`` for no limit."""

    resource: Annotated[int, Tag.RESOURCE]
    soft: Annotated[int, Tag.SOFT]
    hard: Annotated[int, Tag.HARD]


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """One process.  ``process`` is 1..2^30-1, never used twice in a VM; capability sets are bit masks.  ``init``: the
    container's first, once.

    ``container`` "": in the VM, outside any container, with every capability; ``tools`` is then the container whose
    root has the program (without, it is one of the agent's own, such as "hyper-connect HOST PORT").
    """

    container: Annotated[str, Tag.CONTAINER, ALWAYS]
    process: Annotated[int, Tag.PROCESS]
    args: Annotated[tuple[str, ...], Tag.ARG]
    cwd: Annotated[str, Tag.CWD, ALWAYS] = "/"
    init: Annotated[bool, Tag.INIT] = False
    env: Annotated[tuple[str, ...], Tag.ENV] = ()
    user: Annotated[str, Tag.USER] = ""
    groups: Annotated[tuple[str, ...], Tag.GROUP] = ()
    cap_bounding: Annotated[int, Tag.CAP_BOUNDING] = 0
    cap_effective: Annotated[int, Tag.CAP_EFFECTIVE] = 0
    cap_permitted: Annotated[int, Tag.CAP_PERMITTED] = 0
    cap_inheritable: Annotated[int, Tag.CAP_INHERITABLE] = 0
    cap_ambient: Annotated[int, Tag.CAP_AMBIENT] = 0
    rlimits: Annotated[tuple[Rlimit, ...], Tag.RLIMIT] = ()
    no_new_privs: Annotated[bool, Tag.NO_NEW_PRIVS] = False
    seccomp: Annotated[bytes, Tag.SECCOMP] = b""
    tty: Annotated[bool, Tag.TTY] = False
    rows: Annotated[int, Tag.ROWS] = 0
    columns: Annotated[int, Tag.COLUMNS] = 0
    stdin: Annotated[bool, Tag.WITH_STDIN] = False
    oom_score_adj: Annotated[int, Tag.OOM_SCORE_ADJ] = 0
    umask: Annotated[int | None, Tag.UMASK] = None
    reaper: Annotated[bool, Tag.REAPER] = False
    tools: Annotated[str, Tag.TOOLS] = ""


@dataclass(frozen=True, slots=True)
class ProcessSignal:
    """``all``: every process of the container whose init this is.  ``patient``: one that would not hear it yet, as it
    is PID 1 of its namespace and has no handler, gets it when it has one."""

    process: Annotated[int, Tag.PROCESS]
    signal: Annotated[int, Tag.SIGNAL]
    all: Annotated[bool, Tag.ALL] = False
    patient: Annotated[bool, Tag.PATIENT] = False


@dataclass(frozen=True, slots=True)
class ProcessResize:
    process: Annotated[int, Tag.PROCESS]
    rows: Annotated[int, Tag.ROWS]
    columns: Annotated[int, Tag.COLUMNS]


@dataclass(frozen=True, slots=True)
class ProcessName:
    process: Annotated[int, Tag.PROCESS]


@dataclass(frozen=True, slots=True)
class ContainerName:
    container: Annotated[str, Tag.CONTAINER]


@dataclass(frozen=True, slots=True)
class ContainerDestroy:
    """``discard``: the directory of its writable disk goes too."""

    container: Annotated[str, Tag.CONTAINER]
    discard: Annotated[bool, Tag.DISCARD] = False


@dataclass(frozen=True, slots=True)
class ContainerFreeze:
    container: Annotated[str, Tag.CONTAINER]
    frozen: Annotated[bool, Tag.FROZEN]


@dataclass(frozen=True, slots=True)
class StatsOf:
    """``container`` None: the VM as a whole."""

    container: Annotated[str | None, Tag.CONTAINER] = None


@dataclass(frozen=True, slots=True)
class ContainerUpdate:
    """None leaves a limit as it is."""

    container: Annotated[str, Tag.CONTAINER]
    memory_max_bytes: Annotated[int | None, Tag.MEMORY_MAX] = None
    cpu_max: Annotated[str | None, Tag.CPU_MAX] = None
    cpu_weight: Annotated[int | None, Tag.CPU_WEIGHT] = None
    pids_max: Annotated[int | None, Tag.PIDS_MAX] = None


@dataclass(frozen=True, slots=True)
class Time:
    time_ns: Annotated[int, Tag.TIME_NS]


@dataclass(frozen=True, slots=True)
class Nothing:
    """A message without fields."""


REQUESTS: Final[Mapping[Operation, type[Any]]] = {
    Operation.CONFIGURE: VmConfig,
    Operation.CONTAINER_CREATE: ContainerPlan,
    Operation.PROCESS_START: ProcessPlan,
    Operation.PROCESS_SIGNAL: ProcessSignal,
    Operation.PROCESS_RESIZE: ProcessResize,
    Operation.PROCESS_FORGET: ProcessName,
    Operation.CONTAINER_DESTROY: ContainerDestroy,
    Operation.CONTAINER_FREEZE: ContainerFreeze,
    Operation.CONTAINER_PROCESSES: ContainerName,
    Operation.STATS: StatsOf,
    Operation.CONTAINER_UPDATE: ContainerUpdate,
    Operation.SHUTDOWN: Nothing,
    Operation.SET_TIME: Time,
    Operation.PREPARE: Preparation,
    Operation.VOLUME_ADD: VolumePlan,
    Operation.VOLUME_REMOVE: VolumeName,
    Operation.VOLUME_GROW: VolumeGrow,
    Operation.VOLUME_FREEZE: VolumeFreeze,
}


# ----------------------------------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Failure:
    message: Annotated[str, Tag.MESSAGE] = ""


@dataclass(frozen=True, slots=True)
class Started:
    pid: Annotated[int, Tag.PID]


@dataclass(frozen=True, slots=True)
class Task:
    """A running process.  ``pid`` and ``parent`` are the VM's, ``start_ns`` counts from boot."""

    pid: Annotated[int, Tag.PID]
    parent: Annotated[int, Tag.PARENT] = 0
    container_pid: Annotated[int, Tag.CONTAINER_PID] = 0
    uid: Annotated[int, Tag.UID] = 0
    start_ns: Annotated[int, Tag.START_NS] = 0
    cpu_ns: Annotated[int, Tag.CPU_NS] = 0
    rss_bytes: Annotated[int, Tag.RSS_BYTES] = 0
    state: Annotated[str, Tag.STATE] = "?"
    command: Annotated[str, Tag.COMMAND] = ""
    terminal: Annotated[str, Tag.TERMINAL] = "?"
    virtual_bytes: Annotated[int, Tag.VIRTUAL_BYTES] = 0
    threads: Annotated[int, Tag.THREADS] = 1
    comm: Annotated[str, Tag.COMM] = ""


@dataclass(frozen=True, slots=True)
class Tasks:
    tasks: Annotated[tuple[Task, ...], Tag.TASK] = ()


@dataclass(frozen=True, slots=True)
class Stat:
    name: Annotated[str, Tag.NAME]
    number: Annotated[int, Tag.NUMBER]


@dataclass(frozen=True, slots=True)
class StatList:
    stats: Annotated[tuple[Stat, ...], Tag.STAT] = ()


@dataclass(frozen=True, slots=True)
class StreamState:
    """``stream`` is process * 4 + which.  Bytes from ``acked_bytes`` to ``end_bytes`` wait in the guest; of standard
    input both say how many it has taken."""

    stream: Annotated[int, Tag.STREAM]
    acked_bytes: Annotated[int, Tag.ACKED] = 0
    end_bytes: Annotated[int, Tag.END] = 0
    at_eof: Annotated[bool, Tag.AT_EOF] = False


@dataclass(frozen=True, slots=True)
class ProcessState:
    """``wait_status`` and what follows count where ``exited`` is set.  ``container`` "": it runs in the VM."""

    container: Annotated[str, Tag.CONTAINER]
    process: Annotated[int, Tag.PROCESS]
    pid: Annotated[int, Tag.PID] = 0
    init: Annotated[bool, Tag.INIT] = False
    exited: Annotated[bool, Tag.EXITED] = False
    wait_status: Annotated[int, Tag.WAIT_STATUS] = 0
    time_ns: Annotated[int, Tag.TIME_NS] = 0
    oom: Annotated[bool, Tag.OOM] = False
    streams: Annotated[tuple[StreamState, ...], Tag.STREAM_STATE] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the guest has when a session begins."""

    agent: Annotated[str, Tag.AGENT] = ""
    kernel: Annotated[str, Tag.KERNEL] = ""
    uptime_ns: Annotated[int, Tag.UPTIME_NS] = 0
    containers: Annotated[tuple[str, ...], Tag.CONTAINER] = ()
    processes: Annotated[tuple[ProcessState, ...], Tag.PROCESS_STATE] = ()


# ------------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """``wait_status`` as from waitpid(2)."""

    process: Annotated[int, Tag.PROCESS]
    wait_status: Annotated[int, Tag.WAIT_STATUS]
    time_ns: Annotated[int, Tag.TIME_NS]
    oom: Annotated[bool, Tag.OOM] = False


@dataclass(frozen=True, slots=True)
class ContainerOom:
    """The kernel killed something in the container for want of memory."""

    container: Annotated[str, Tag.CONTAINER]


@dataclass(frozen=True, slots=True)
class GuestLog:
    """Something for the operator, at most 1024 bytes; safe to print."""

    message: Annotated[str, Tag.MESSAGE]


@dataclass(frozen=True, slots=True)
class DiskCorrupted:
    """Some image's disk has a block that is not what its root hash says; who read it had an input error."""


Event = ProcessExited | ContainerOom | GuestLog | DiskCorrupted
