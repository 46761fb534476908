"""What the engine answers: the wire form of the native API's answers (docs/api.md), in one definition.

Immutable.  Times are RFC 3339 with nanoseconds in UTC, "" where there is none.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from hypercontainer.contract.networks import Join, Subnet
from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import NfsShare


class Created(Struct, frozen=True):
    id: str
    name: str
    warnings: tuple[str, ...] = ()


class Timings(Struct, frozen=True):
    """Where the time of a run went.  ``vm``: how its VM came to be: cold, clone or warm; shared: it ran already.
    ``stages_ms`` in their order, which JSON keeps: each from the end of the one before it, so that they add up."""

    vm: str
    stages_ms: dict[str, float]


class Exit(Struct, frozen=True):
    """``exit_status`` as a shell has it: 0-255, 128+signal.  ``timings``: of the run that has just ended, for
    those who were attached to it; None of any other."""

    exit_status: int
    error: str = ""
    timings: Timings | None = None


class Port(Struct, frozen=True):
    host_ip: str
    host_port: int  # 0: exposed, not published
    container_port: int
    protocol: str


class MountPoint(Struct, frozen=True):
    """``kind``: volume (one of hyperd's), disk or bind (of the host), image, or none of these: "".  ``source``: the
    volume's name, the path on the host, or the image's reference; ``path``: in the container."""

    kind: str
    source: str
    path: str


class Summary(Struct, frozen=True, kw_only=True):
    """A line of ``hyper ps``.  ``image``: as it was asked for, or the image's ID where that name has gone to another
    image or is no more (in an ``Inspect``: as it was asked for)."""

    id: str
    name: str
    image: str
    image_id: str
    command: str
    created: str
    started: str
    finished: str
    state: str
    status: str
    exit_status: int
    ports: tuple[Port, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    pod: str = ""
    networks: tuple[str, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    size_bytes: int | None = None


class Effective(Struct, frozen=True, kw_only=True):
    """What applies to a container after image, specification and defaults are put together."""

    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    user: str
    working_dir: str
    stop_signal: str
    hostname: str
    volumes: tuple[str, ...] = ()  # where the image, or a mount without a name, wants one of its own
    healthcheck: Healthcheck | None = None  # None: neither the container nor its image has any
    shell: tuple[str, ...] = ()  # the image's, for the shell form of its health check; (): /bin/sh -c
    exposed: tuple[str, ...] = ()  # "80/tcp": the image's ports, and those of the specification


class HealthResult(Struct, frozen=True, kw_only=True):
    """Of one check: 0 is good, -1 that it could not be asked, or not in time.  ``output``: its first 4096 bytes."""

    started: str
    ended: str
    exit_status: int
    output: str


class Health(Struct, frozen=True, kw_only=True):
    """``status``: starting, healthy or unhealthy (any that does not run); ``log``: a health check's last five."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


class Machine(Struct, frozen=True, kw_only=True):
    """The VM under a container; all empty while there is none.  ``disk_full``: it stands still until there is room on
    the host for what it writes.  ``verified``: it checks all that it reads of images by hashes."""

    memory_mib: int = 0
    vcpus: int = 0
    hypervisor: str = ""
    accelerator: str = ""
    kernel: str = ""
    kernel_args: tuple[str, ...] = ()
    run_dir: str = ""
    pid: int = 0
    disk_full: bool = False
    verified: bool = False


class Endpoint(Struct, frozen=True, kw_only=True):
    """A pod in a network while its VM runs: addresses as "10.89.0.2/24", or "".  ``network_id``: "" of "user"."""

    network: str
    network_id: str = ""
    mac_address: str = ""
    address: str = ""
    address6: str = ""
    gateway: str = ""
    gateway6: str = ""
    aliases: tuple[str, ...] = ()


class NetworkState(Struct, frozen=True, kw_only=True):
    """Of the endpoint that has the way out; ``endpoints``: all, this one first."""

    address: str = ""
    gateway: str = ""
    mac_address: str = ""
    endpoints: tuple[Endpoint, ...] = ()


class Inspect(Summary, frozen=True, kw_only=True):
    spec: ContainerSpec
    config: Effective
    pid: int
    error: str
    oom_killed: bool
    restart_count: int
    vm: Machine
    network: NetworkState
    log_path: str
    joins: tuple[Join, ...] = ()  # as asked for by now: its pod's, with those of later connections
    execs: tuple[str, ...] = ()
    message: str = ""  # the program's last words (``termination_message_path``)
    health: Health | None = None  # None: nobody asks for it
    disks: dict[str, str] = field(
        default_factory=dict
    )  # of hyperd's volumes: their files on the host, by name; of volumes that are images: their IDs
    asked: dict[str, Any] = field(
        default_factory=dict
    )  # parts of Docker's Config and HostConfig as they came, which ``spec`` says in other words or not at all


class Process(Struct, frozen=True, kw_only=True):
    """A line of ``hyper top``; ``pid`` as the container sees it.  ``name``: the kernel's, of at most 15 characters."""

    pid: int
    ppid: int
    uid: int
    user: str
    cpu_ns: int
    rss_bytes: int
    started: str
    state: str
    tty: str
    command: str
    name: str = ""
    threads: int = 1
    virtual_bytes: int = 0


class Sample(Struct, frozen=True, kw_only=True):
    """A line of ``hyper stats``; counters since the container's start."""

    time: str
    id: str
    name: str
    cpu_ns: int
    vcpus: int
    memory_bytes: int
    memory_limit_bytes: int
    net_rx_bytes: int
    net_tx_bytes: int
    block_read_bytes: int
    block_write_bytes: int
    pids: int
    vm_rss_bytes: int


class Event(Struct, frozen=True):
    time: str
    type: str  # container, image, daemon
    action: str
    id: str
    attributes: dict[str, str] = field(default_factory=dict)


class Pruned(Struct, frozen=True, kw_only=True):
    containers_deleted: tuple[str, ...]
    images_deleted: tuple[str, ...]
    space_reclaimed_bytes: int


class Check(Struct, frozen=True):
    """``ok`` None: does not apply here, or not as good as it could be; ``detail`` says which."""

    name: str
    ok: bool | None
    detail: str
    remedy: str = ""


class KernelLine(Struct, frozen=True, kw_only=True):
    name: str
    version: str
    source: str  # own, debian, user
    path: str
    default: bool
    hypervisor: str = ""
    architecture: str = "amd64"


class Info(Struct, frozen=True, kw_only=True):
    """What hyperd is, has and may use; each surface shows it as its users know it (``semantics.shape.info``).

    ``memory_bytes`` and ``cpus`` are what a container has that does not say otherwise; ``confinement`` is by what
    each hypervisor's process is shut in."""

    daemon_pid: int
    version: str
    containers: int
    running: int
    paused: int
    images: int
    hypervisor: str
    accelerator: str
    accelerator_reason: str
    sandbox: bool
    confinement: tuple[str, ...]
    not_limited: tuple[str, ...]
    kernel: str
    templates: int
    ready_clones: int
    memory_bytes: int
    cpus: float
    root: str
    run: str
    host: str
    config_file: str
    rootless: bool
    time: str
    set_aside: tuple[str, ...] = ()  # what no record names, in words
    drivers: tuple[str, ...] = ()  # of hypervisors that are here, with their versions
    architectures: tuple[str, ...] = ()  # of VMs that can be run, this machine's first
    verity: str = ""  # whether guests check what they read of images: off, auto, required
    id: str = ""  # a UUID of this hyperd's root directory
    docker_host: str = ""  # where Docker's API is served; "" where it is not


class ExecState(Struct, frozen=True, kw_only=True):
    id: str
    container: str
    running: bool
    exit_status: int | None
    pid: int
    command: tuple[str, ...]


class PodCreated(Struct, frozen=True):
    id: str
    name: str
    containers: tuple[Created, ...] = ()
    warnings: tuple[str, ...] = ()


class PodSummary(Struct, frozen=True, kw_only=True):
    """A line of ``hyper pod ls``.  ``state``: created, starting, running, paused, stopping; or, when all its containers
    have ended for good, succeeded, failed, or stopped: because somebody wanted it.  ``ready``: every container that
    has a readiness probe passes it."""

    id: str
    name: str
    created: str
    state: str
    status: str
    ready: bool
    containers: tuple[Summary, ...] = ()
    ports: tuple[Port, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


class PodInspect(PodSummary, frozen=True, kw_only=True):
    spec: PodSpec
    reason: str
    vm: Machine
    network: NetworkState


class PodLogLine(Struct, frozen=True):
    """``channel`` 1 or 2."""

    container: str
    channel: int
    data: bytes


class FileFacts(Struct, frozen=True):
    """Of a regular file in a container."""

    mode: int
    uid: int
    gid: int
    size_bytes: int


class PathFacts(Struct, frozen=True):
    """Of what is at a path in a container, which may be a link.  ``mode`` as stat(2) has it, with the type;
    ``modified_s`` since 1970; ``leads_to``: of a link, the path behind it, absolute and without links, whether or not
    something is there."""

    name: str
    mode: int
    size_bytes: int
    modified_s: int
    leads_to: str = ""


class Change(Struct, frozen=True):
    """Of a container, beside its image.  ``kind``: added, modified, deleted."""

    path: str
    kind: str


class VolumeInfo(Struct, frozen=True, kw_only=True):
    """A line of ``hyper volume ls``.  ``kind``: "disk", or "shared" or "nfs", whose ``size_bytes`` is 0: they have none
    of their own.  ``nfs``: what server and directory it is."""

    name: str
    created: str
    size_bytes: int
    used_bytes: int
    labels: dict[str, str] = field(default_factory=dict)
    pods: tuple[str, ...] = ()
    disk: str = ""  # its file on the host, or its directory; "" of one that a server has
    kind: str = "disk"
    nfs: NfsShare | None = None
    snapshots: int = 0
    snapshots_bytes: int = 0


class NetworkMember(Struct, frozen=True, kw_only=True):
    """A pod that is in a network; its addresses while its VM runs.  ``containers``: names."""

    pod: str  # its ID
    name: str  # the pod's, or that of its only container
    containers: tuple[str, ...] = ()
    endpoint: Endpoint


class ServiceInfo(Struct, frozen=True, kw_only=True):
    """A service of a manifest in a network.  ``address`` "": its name leads to the pods themselves.  ``ports``: as
    "80/tcp"; ``pods``: address by name, of those that it leads to."""

    name: str
    address: str = ""
    ports: tuple[str, ...] = ()
    pods: dict[str, str] = field(default_factory=dict)


class NetworkInfo(Struct, frozen=True, kw_only=True):
    """A line of ``hyper network ls``.  ``subnets`` with what was chosen; ``members``: of its inspection alone.
    ``configuration``: of a network of CNI, as its file has it."""

    id: str
    name: str
    driver: str
    created: str
    subnets: tuple[Subnet, ...] = ()
    ipv6: bool = False
    internal: bool = False
    mtu: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    attachable: bool = False
    members: tuple[NetworkMember, ...] = ()
    services: tuple[ServiceInfo, ...] = ()
    configuration: dict[str, Any] = field(default_factory=dict)


class Denial(Struct, frozen=True, kw_only=True):
    """What a pod was denied, ``count`` times in a second.  ``name``: that led to ``address``, or, where there is none,
    that was asked for.  ``pod`` "": of several."""

    time: str
    pod: str
    pod_name: str = ""
    address: str = ""
    port: int = 0
    protocol: str = ""
    name: str = ""
    reason: str
    count: int = 1


class PolicyInfo(Struct, frozen=True, kw_only=True):
    """``users``: names of the pods that have it."""

    name: str
    policy: NetworkPolicy
    users: tuple[str, ...] = ()


class PolicyVerdict(Struct, frozen=True, kw_only=True):
    """``rule``: the place in the policy of the one that allows it; ``addresses``: what a name has led the pod to."""

    allowed: bool
    reason: str
    rule: int | None = None
    policy: str = ""
    addresses: tuple[str, ...] = ()


class CronRun(Struct, frozen=True):
    """A Job of a CronJob.  ``state``: active, succeeded or failed."""

    name: str
    state: str
    pods: tuple[str, ...] = ()


class CronJob(Struct, frozen=True, kw_only=True):
    """What is kept of a CronJob.  ``last`` and ``next``: times, "" where there is none; ``problem``: why its last Job
    could not be made, or why it has no times any more."""

    name: str
    schedule: str
    time_zone: str = ""  # "": UTC
    suspended: bool = False
    concurrency: str = "Allow"
    last: str = ""
    next: str = ""
    problem: str = ""
    runs: tuple[CronRun, ...] = ()  # oldest first


class Played(Struct, frozen=True, kw_only=True):
    """What became of one object of a manifest, or would become of it.  ``action``: created, changed (some of its pods
    were made or removed), replaced, removed, unchanged, kept or skipped.  ``pods``: those that it has; ``removed``:
    those that it had.
    """

    kind: str
    name: str
    action: str
    pods: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
