"""What a user asks for, of a container and of a pod: wire form of the native API and stored form, in one definition.

Immutable.  ``None`` means "not said": the image's value, the configuration's or Docker's default applies, and
the engine decides which (``semantics/docker.py``).  Units stand in the names.
"""

from __future__ import annotations

from msgspec import Struct, field

from hypercontainer.contract.egress import SecretHeader
from hypercontainer.contract.networks import Join, PodService
from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.contract.probes import Healthcheck, Lifecycle, Probe
from hypercontainer.contract.volumes import InjectedFile, Volume, VolumeMount

NAME_MAX = (
    255  # characters of a container's or a pod's name; Docker has no limit, and file names have this one
)

# In arguments and environment: what stands in their place is known when a pod starts, and then put in.
POD_ADDRESS, HOST_ADDRESS = "$(status.podIP)", "$(status.hostIP)"


class PortMapping(Struct, frozen=True, forbid_unknown_fields=True):
    """``host_port`` 0: any free port; with a ``host_port_last``, the first free one from there to that.
    ``protocol``: tcp or udp."""

    container_port: int
    host_port: int = 0
    host_ip: str = "0.0.0.0"  # noqa: S104 - Docker's default, and what users of -p expect
    protocol: str = "tcp"
    host_port_last: int = 0


class Tmpfs(Struct, frozen=True, forbid_unknown_fields=True):
    """``options`` as mount(8) and Docker's --tmpfs have them: "rw,size=64m,mode=1777"."""

    path: str
    options: str = ""


class Ulimit(Struct, frozen=True, forbid_unknown_fields=True):
    """``name`` as in prlimit(1): nofile, core, ...; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class RestartPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """``name``: no, always, on-failure, unless-stopped; ``maximum_retries`` 0 is no maximum.

    ``backoff``: "docker" (0.1 s, doubled, at most a minute) or "kubernetes" (at once, 10 s, doubled, at most five
    minutes, and in a pod with a clean root each time).
    """

    name: str = "no"
    maximum_retries: int = 0
    backoff: str = "docker"


class Syslog(Struct, frozen=True, forbid_unknown_fields=True):
    """A syslog server.  ``address``: udp://HOST[:PORT], tcp://HOST[:PORT], unix:///PATH or unixgram:///PATH; "": the
    host's /dev/log.  ``facility``: a name or a number; ``format``: "" or rfc3164, rfc5424, rfc5424micro.  ``tag``: with
    {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}}, {{.DaemonName}}; "": {{.ID}}."""

    address: str = ""
    facility: str = "daemon"
    format: str = ""
    tag: str = ""


class LogConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``driver``: "file", "none", or "syslog", which sends to a server what the files have.  The newest ``max_files``
    files of ``max_size_bytes`` are kept.

    None: what the configuration says; a container that was created has all three.
    """

    driver: str | None = None
    max_size_bytes: int | None = None
    max_files: int | None = None
    syslog: Syslog | None = None


class ContainerSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One container, and of a pod of one also its VM (memory, CPUs, kernel, network)."""

    image: str
    name: str | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None  # (): none, even where the image has one
    env: tuple[str, ...] = ()  # "NAME=value"
    working_dir: str | None = None
    user: str | None = None
    group: str | None = None  # in place of the one that ``user``, or else the image, says
    groups: tuple[str, ...] = ()
    umask: int | None = None  # of its processes; None: 0o022
    hostname: str | None = None
    domainname: str = ""
    tty: bool = False
    rows: int = 0  # of the terminal when the process begins; 0: nobody knows
    columns: int = 0
    stdin_open: bool = False
    stdin_once: bool = False  # close stdin when the first client that attached to it leaves
    init: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    # network
    networks: tuple[Join, ...] = ()  # (): the one that the configuration says
    ports: tuple[PortMapping, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()  # "80/tcp"
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # "name:address"
    links: tuple[
        str, ...
    ] = ()  # "name:alias": what it calls a container of its networks; ":alias" may be left out
    host_loopback: tuple[int, ...] = ()  # TCP ports of the host's loopback address that are open to it
    mac_address: str | None = None
    secret_headers: tuple[SecretHeader, ...] = ()
    network_policy: str | NetworkPolicy | None = None  # the name of one, or one of its own

    # root disk and mounts
    read_only: bool = False
    tmpfs: tuple[Tmpfs, ...] = ()
    shm_size_bytes: int = 64 * 1024 * 1024
    disk_size_bytes: int | None = None  # of the writable disk
    volumes: tuple[Volume, ...] = ()  # that come with it
    mounts: tuple[VolumeMount, ...] = ()  # of these, or of its pod's
    files: tuple[InjectedFile, ...] = ()
    api_socket: str | None = None  # where its programs find Docker's API, with its creator's rights

    # resources
    memory_bytes: int | None = None  # of the VM
    cpus: float | None = None
    cpu_shares: int | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)
    oom_score_adj: int = 0

    # privileges, inside the VM
    privileged: bool = False
    devices: tuple[str, ...] = ()  # of the guest's own kernel: "/dev/fuse", "/dev/net/tun:/dev/tun"
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str | None = (
        None  # None: Docker's default profile; "unconfined"; or the text of a profile in Docker's JSON
    )
    pid_mode: str = ""  # "", or "pod"
    run_as_non_root: bool = False  # refuse to start where the user is root

    # life
    stop_signal: str | None = None
    stop_timeout_s: int | None = None
    restart: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    log: LogConfig = LogConfig()
    healthcheck: Healthcheck | None = None  # None: the image's

    # in a pod
    pod: str | None = None  # the pod it is created into; None: a pod of its own
    role: str = "main"  # "init": ends before the next begins; "sidecar": an init that goes on; "main"
    startup: Probe | None = None  # the other probes, and the next container, wait for it
    liveness: Probe | None = None  # ends the container where it fails
    readiness: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    termination_message_path: str = ""  # "": none is read
    termination_message_fallback: bool = False  # to the log's end, where the program failed and wrote none

    # image and machine
    platform: str | None = None
    pull: str = "missing"  # "always", "never"
    kernel: str | None = None  # a path on hyperd's host, or a name that `hyper kernel ls` shows
    initrd: str | None = None
    kernel_args: tuple[str, ...] = ()
    hypervisor: str | None = None  # "qemu", "uml"
    accelerator: str | None = None  # QEMU's: "kvm", "tcg"
    template: bool = True  # the VM may be cloned from a template; False: it is booted


class PodSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Order counts: init containers run one after the other before the rest (``ContainerSpec.role``).

    The VM's: ``memory_bytes`` (None: room for what the containers may use, at least the configured default), ``cpus``,
    ``kernel`` and the like.  In a member's own specification ``memory_bytes`` and ``cpus`` are the limits of that
    container inside the VM, and what belongs to a pod as a whole (network, ports, dns, hostname, kernel, ...) is the
    pod's: a member that says it too is refused.
    """

    name: str | None = None
    containers: tuple[ContainerSpec, ...] = ()
    volumes: tuple[Volume, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    # what they share
    hostname: str | None = None
    domainname: str = ""
    share_pids: bool = False
    shm_size_bytes: int = 64 * 1024 * 1024
    networks: tuple[Join, ...] = ()  # (): the one that the configuration says
    services: tuple[PodService, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # "name:address"
    host_loopback: tuple[int, ...] = ()  # TCP ports of the host's loopback address that are open to it
    mac_address: str | None = None
    secret_headers: tuple[SecretHeader, ...] = ()
    network_policy: str | NetworkPolicy | None = None  # the name of one, or one of its own
    sysctls: dict[str, str] = field(default_factory=dict)
    fs_group: int | None = None  # group of the pod's volumes, and of every process

    # the VM
    memory_bytes: int | None = None
    cpus: float | None = None
    disk_size_bytes: int | None = None  # of the disk with the containers' changes and the emptyDirs
    kernel: str | None = None
    initrd: str | None = None
    kernel_args: tuple[str, ...] = ()
    hypervisor: str | None = None
    accelerator: str | None = None
    template: bool = True

    # life
    stop_timeout_s: int | None = None  # for all of it, in which hooks, signals and sidecars have their turn
    deadline_s: int | None = None  # after which it is stopped and has failed
    auto_remove: bool = False  # when its last container has ended for good
    manifest: str = ""  # the Kubernetes object it was made for, as JSON; "" of any other
    owner: str = ""  # the object of a manifest whose pod it is, as "Deployment/web"


# What a pod decides for all of its containers; one that is created into a pod may not say it.
POD_WIDE = (
    "hostname",
    "domainname",
    "ports",
    "publish_all",
    "networks",
    "dns",
    "dns_search",
    "dns_options",
    "extra_hosts",
    "host_loopback",
    "mac_address",
    "secret_headers",
    "network_policy",
    "disk_size_bytes",
    "kernel",
    "initrd",
    "kernel_args",
    "hypervisor",
    "accelerator",
)
# What a container that is alone says of its pod, whose only one it is.
_OF_THE_POD = frozenset(PodSpec.__struct_fields__) & frozenset(ContainerSpec.__struct_fields__) - {
    "name",
    "annotations",
    "auto_remove",
    "labels",
    "stop_timeout_s",
    "volumes",
}


def alone(spec: ContainerSpec) -> PodSpec:
    """The pod of a container that is alone, without the container."""
    return PodSpec(**{name: getattr(spec, name) for name in PodSpec.__struct_fields__ if name in _OF_THE_POD})


class ExecSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One more process in a running container."""

    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_dir: str | None = None
    user: str | None = None
    tty: bool = False
    stdin: bool = False
    detach: bool = False
    privileged: bool = False
    rows: int = 0
    columns: int = 0
