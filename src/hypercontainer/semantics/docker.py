"""From what a user asks for to plain operations for the guest: Docker's semantics, as pure functions.

``effective`` puts specification, image and defaults together once, when a container is created; ``start`` and
``exec_process`` make the operations of it.  What cannot be is an InvalidArgument that names the field.
"""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from hypercontainer.agent.operations import (
    ContainerPlan,
    Disk,
    Mount,
    ProcessPlan,
    Rlimit,
    Sysctl,
)
from hypercontainer.contract import ports
from hypercontainer.contract.answers import Effective
from hypercontainer.contract.networks import NONE
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import (
    ContainerSpec,
    ExecSpec,
    PortMapping,
    Ulimit,
)
from hypercontainer.errors import InvalidArgument
from hypercontainer.linux import capabilities, rlimits, seccomp, seccomp_default, signals
from hypercontainer.linux.architectures import AMD64
from hypercontainer.semantics import files as plan_files
from hypercontainer.semantics import health, syslog
from hypercontainer.semantics import mounts as plan_mounts
from hypercontainer.semantics.environment import PATH, environment, merged_env
from hypercontainer.semantics.links import links

HOSTNAME_MAX = 64  # Linux's
UMASK = 0o022
UNCONFINED = "unconfined"
# What Docker's users find in a container; the hard limits leave programs room to ask for more.
DEFAULT_ULIMITS = (Ulimit("nofile", 1024, 524288), Ulimit("nproc", -1, -1), Ulimit("core", -1, -1))

_SYSTEMD_INITS = frozenset({"/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"})
_SYSTEMD_STOP = "SIGRTMIN+3"


class Image(Protocol):
    """The part of an image's configuration that counts here; None is "not given"."""

    @property
    def user(self) -> str: ...
    @property
    def env(self) -> tuple[str, ...]: ...
    @property
    def entrypoint(self) -> tuple[str, ...] | None: ...
    @property
    def cmd(self) -> tuple[str, ...] | None: ...
    @property
    def working_dir(self) -> str: ...
    @property
    def stop_signal(self) -> str: ...
    @property
    def volumes(self) -> tuple[str, ...]: ...
    @property
    def exposed_ports(self) -> tuple[str, ...]: ...
    @property
    def healthcheck(self) -> Healthcheck | None: ...
    @property
    def shell(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What the specification does not know: disks, numbers, network, kernel.

    ``address`` is the container's own ("" without a network), ``host`` the host's as it calls it, ``kernel_version``
    and ``architecture`` the guest's, (major, minor) and Go's word.
    """

    lower: Disk
    upper: Disk | None
    process: int = 1
    address: str = ""
    host: str = ""
    name_servers: tuple[str, ...] = ()
    kernel_version: tuple[int, int] = (6, 1)
    architecture: str = AMD64
    single_files: frozenset[str] = frozenset()  # volumes that are one file of the host
    shared_memory: str = ""  # the volume that is /dev/shm
    unfilled: frozenset[str] = frozenset()  # volumes that may be filled from the image
    in_pod: bool = False  # memory and CPUs are this container's in the VM, not the VM's
    authority: str = ""  # the certificate of the pod's own, PEM; "": it has none


@dataclass(frozen=True, slots=True)
class Start:
    container: ContainerPlan
    process: ProcessPlan


_ANY_FACTS = Facts(Disk("image", "erofs"), None, address="192.0.2.2", host="192.0.2.1")


def effective(spec: ContainerSpec, image: Image, container_id: str) -> tuple[Effective, tuple[str, ...]]:
    """What applies to the container, and warnings for its user.  Everything in ``spec`` is checked."""
    entrypoint, command = _command(spec, image)
    args = (*entrypoint, *command)
    stop_signal, warnings = _stop_signal(spec, image, args)
    _host_name("domainname", spec.domainname)
    made = Effective(
        env=merged_env(image.env, spec.env),
        entrypoint=entrypoint,
        command=command,
        user=_user(image.user if spec.user is None else spec.user, spec.group),
        working_dir=_working_dir(spec.working_dir, image.working_dir),
        stop_signal=stop_signal,
        hostname=_host_name("hostname", spec.hostname or container_id[:12]),
        healthcheck=health.effective(spec.healthcheck, image.healthcheck),
        shell=image.shell or (),
        exposed=_exposed_ports(spec, image),
    )
    if spec.run_as_non_root:
        _not_root(made.user)
    if spec.log.syslog is not None:
        syslog.check(spec.log.syslog)
    links(spec.links)
    start(spec, made, container_id, _ANY_FACTS)  # whatever cannot be planned is refused now
    return made, (*warnings, *_warnings(spec), *health.warnings(made.healthcheck))


def _stop_signal(spec: ContainerSpec, image: Image, args: tuple[str, ...]) -> tuple[str, list[str]]:
    """The signal, and warnings: what an image has wrong is no fault of who runs it."""
    usual = _SYSTEMD_STOP if is_systemd(args) else "SIGTERM"
    if spec.stop_signal:
        signals.parse(spec.stop_signal)
        return spec.stop_signal, []
    try:
        signals.parse(image.stop_signal or usual)
    except InvalidArgument:
        shown = image.stop_signal[:60]
        return usual, [f"image {spec.image} has a stop signal that there is not, {shown!r}: {usual} is sent"]
    return image.stop_signal or usual, []


def _user(user: str, group: str | None) -> str:
    return user if group is None else f"{user.partition(':')[0] or '0'}:{group}"


def _not_root(user: str) -> None:
    """What a name stands for is the image's say, so it proves nothing."""
    name = user.partition(":")[0]
    if not (name.isascii() and name.isdigit() and int(name)):
        raise InvalidArgument(
            f"user {name or 'root'} is root, or a name that may stand for it",
            field="run_as_non_root",
            takes="a user whose number is not 0",
        )


def start(spec: ContainerSpec, made: Effective, container_id: str, facts: Facts) -> Start:
    """The operations that create the container and start its process."""
    args = (*made.entrypoint, *made.command)
    systemd = is_systemd(args)
    container = ContainerPlan(
        container=container_id,
        lower=facts.lower,
        upper=facts.upper,
        read_only=spec.read_only,
        mounts=_mounts(spec, facts, systemd=systemd),
        files=plan_files.files(spec, made.hostname, facts),
        devices=plan_mounts.devices(spec),
        masked_paths=() if spec.privileged else plan_mounts.MASKED_PATHS,
        readonly_paths=() if spec.privileged else plan_mounts.READONLY_PATHS,
        sysctls=tuple(_sysctl(name, value) for name, value in sorted(spec.sysctls.items())),
        pid_mode=_pid_mode(spec.pid_mode),
        memory_max_bytes=spec.memory_bytes if facts.in_pod else None,
        cpu_max=_cpu_max(spec.cpus) if facts.in_pod else None,
        cpu_weight=_cpu_weight(spec.cpu_shares),
        pids_max=_pids_max(spec.pids_limit),
        privileged=spec.privileged,
        cwd=made.working_dir,
    )
    extra = ("container=hyper",) if systemd else ()
    process = _process(
        spec,
        container_id,
        facts,
        args=args,
        env=environment(made, tty=spec.tty, extra=extra, trusts=bool(facts.authority)),
        cwd=made.working_dir,
        user=made.user,
        tty=spec.tty,
        rows=spec.rows,
        columns=spec.columns,
        stdin=spec.stdin_open,
        init=True,
        reaper=spec.init,
    )
    return Start(container, process)


def _mounts(spec: ContainerSpec, facts: Facts, *, systemd: bool) -> tuple[Mount, ...]:
    return plan_mounts.mounts(
        spec,
        systemd=systemd,
        shared_memory=facts.shared_memory,
        single_files=facts.single_files,
        unfilled=facts.unfilled,
    )


def exec_process(
    exec_spec: ExecSpec,
    spec: ContainerSpec,
    made: Effective,
    container_id: str,
    process: int,
    architecture: str = AMD64,
    *,
    trusts: bool = False,
) -> ProcessPlan:
    """One more process in a running container: with the container's environment, limits and privileges.  ``trusts``:
    its pod has an authority of its own."""
    if not exec_spec.command:
        raise InvalidArgument("no command specified")
    facts = Facts(Disk("", ""), None, process, architecture=architecture)
    return _process(
        spec,
        container_id,
        facts,
        args=exec_spec.command,
        env=environment(made, tty=exec_spec.tty, extra=exec_spec.env, trusts=trusts),
        cwd=_working_dir(exec_spec.working_dir, made.working_dir),
        user=made.user if exec_spec.user is None else exec_spec.user,
        tty=exec_spec.tty,
        stdin=exec_spec.stdin,
        privileged=exec_spec.privileged,
        rows=exec_spec.rows,
        columns=exec_spec.columns,
    )


# Programs that hyperstart is, and that need no container's root.
BUILT_IN = frozenset({"hyper-connect", "hyper-layer", "hyper-changes"})


def vm_process(exec_spec: ExecSpec, process: int, *, tools: str = "") -> ProcessPlan:
    """A process in the VM, outside of any container, with all of its privileges; its program is from the image of
    the container ``tools``."""
    if not exec_spec.command:
        raise InvalidArgument("no command specified")
    mask = capabilities.mask(capabilities.granted((), (), privileged=True))
    return ProcessPlan(
        container="",
        process=process,
        args=exec_spec.command,
        env=merged_env([PATH], ["TERM=xterm"] if exec_spec.tty else [], exec_spec.env),
        cwd=_working_dir(exec_spec.working_dir, "/"),
        user=exec_spec.user or "",
        cap_bounding=mask,
        cap_effective=mask,
        cap_permitted=mask,
        rlimits=_rlimits(()),
        tty=exec_spec.tty,
        rows=_cells(exec_spec.rows),
        columns=_cells(exec_spec.columns),
        stdin=exec_spec.stdin,
        umask=UMASK,
        tools="" if exec_spec.command[0] in BUILT_IN else tools,
    )


def _process(
    spec: ContainerSpec,
    container_id: str,
    facts: Facts,
    *,
    args: tuple[str, ...],
    env: tuple[str, ...],
    cwd: str,
    user: str,
    tty: bool,
    stdin: bool,
    privileged: bool = False,
    init: bool = False,
    reaper: bool = False,
    rows: int = 0,
    columns: int = 0,
) -> ProcessPlan:
    privileged = privileged or spec.privileged
    granted = capabilities.granted(spec.cap_add, spec.cap_drop, privileged=privileged)
    # An ordinary user's program loses the permitted and effective sets when it is executed: the kernel's rule.
    mask = capabilities.mask(granted)
    return ProcessPlan(
        container=container_id,
        process=facts.process,
        init=init,
        args=args,
        env=env,
        cwd=cwd,
        user=user,
        groups=spec.groups,
        cap_bounding=mask,
        cap_effective=mask,
        cap_permitted=mask,
        rlimits=_rlimits(spec.ulimits),
        no_new_privs=spec.no_new_privileges,
        seccomp=b""
        if privileged
        else _filter(spec.seccomp, granted, facts.kernel_version, facts.architecture),
        tty=tty,
        rows=_cells(rows),
        columns=_cells(columns),
        stdin=stdin,
        oom_score_adj=_oom_score_adj(spec.oom_score_adj),
        umask=_umask(spec.umask),
        reaper=reaper,
    )


def _cells(number: int) -> int:
    """As struct winsize has it (ioctl_tty(2))."""
    if not 0 <= number <= 65535:
        raise InvalidArgument(f"a terminal of {number} rows or columns", takes="from 0 to 65535")
    return number


# ------------------------------------------------------------------------------- command and environment


def _command(spec: ContainerSpec, image: Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(entrypoint, command): an entry point of the user's own drops the image's command too; one that is an empty
    string is none."""
    if spec.entrypoint is None:
        entrypoint = image.entrypoint or ()
        command = spec.command or image.cmd or ()
    else:
        entrypoint = spec.entrypoint
        command = spec.command or ()
    if entrypoint == ("",):
        entrypoint = ()
    if not entrypoint and not command:
        raise InvalidArgument("no command specified", hint=f"image {spec.image} names none")
    if not (*entrypoint, *command)[0]:
        raise InvalidArgument("the command is empty", hint="its first word is the program")
    return entrypoint, command


def signal_name(text: str) -> str:
    """As the C library and Kubernetes write it: "SIGINT" for "int" and "2"."""
    return signals.name(signals.parse(text))


def is_systemd(args: tuple[str, ...]) -> bool:
    """Whether the program is an init system of systemd's kind, by the names that Podman goes by."""
    return bool(args) and (args[0] in _SYSTEMD_INITS or args[0].rsplit("/", 1)[-1] == "systemd")


def _working_dir(asked: str | None, otherwise: str) -> str:
    if asked is not None and not asked.startswith("/"):
        raise InvalidArgument(
            f"{asked!r} is not an absolute path", field="working_dir", takes="a path that begins with /"
        )
    # Cleaned by its words alone, as Docker does: what it leads through need not be there yet.
    return posixpath.normpath("/" + (asked or otherwise).lstrip("/"))


def _host_name(field: str, name: str) -> str:
    if len(name) > HOSTNAME_MAX or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise InvalidArgument(
            f"{name!r} is no host name",
            field=field,
            takes=f"at most {HOSTNAME_MAX} letters, digits, hyphens and dots",
        )
    return name


# --------------------------------------------------------------------------------- limits and privileges


def _rlimits(asked: Iterable[Ulimit]) -> tuple[Rlimit, ...]:
    chosen = {}
    for limit in (*DEFAULT_ULIMITS, *asked):
        number, soft, hard = rlimits.parse(limit.name, limit.soft, limit.hard)
        chosen[number] = Rlimit(number, soft, hard)
    return tuple(chosen[number] for number in sorted(chosen))


@functools.lru_cache(maxsize=32)
def _filter(
    profile: str | None, granted: frozenset[str], kernel_version: tuple[int, int], architecture: str
) -> bytes:
    if profile == UNCONFINED:
        return b""
    chosen = seccomp_default.PROFILE if profile is None else seccomp.parse_profile(profile)
    return seccomp.compile_filter(chosen, granted, kernel_version, architecture)


def _sysctl(name: str, value: str) -> Sysctl:
    parts = name.replace("/", ".").split(".")
    if len(parts) < 2 or not all(parts) or not all(c.isalnum() or c in "-_." for c in "".join(parts)):
        raise InvalidArgument(
            f"{name!r} is no kernel parameter", field="sysctls", takes="such as net.core.somaxconn"
        )
    return Sysctl(".".join(parts), value)


def _pid_mode(text: str) -> int:
    if text not in ("", "pod"):
        raise InvalidArgument(
            f"{text!r} is not known", field="pid_mode", takes='"pod", or nothing for processes of its own'
        )
    return int(text == "pod")


def _cpu_weight(shares: int | None) -> int | None:
    """cgroup v1's shares (2..262144) as cgroup v2's weight (1..10000), the way runc has it; 0 is the default."""
    if not shares:
        return None
    if not 2 <= shares <= 262144:
        raise InvalidArgument(f"{shares} is out of range", field="cpu_shares", takes="2 to 262144")
    return 1 + (shares - 2) * 9999 // 262142


def _cpu_max(cpus: float | None) -> str | None:
    """As cgroup v2's cpu.max has it: microseconds of every 100 ms."""
    return None if cpus is None else f"{max(1000, round(cpus * 100_000))} 100000"


def check_limits(spec: ContainerSpec) -> None:
    """Those that may be said anew of a container that is there."""
    _cpu_weight(spec.cpu_shares)
    if spec.cpus is not None and not spec.cpus > 0:
        raise InvalidArgument(f"{spec.cpus} is out of range", field="cpus", takes="more than 0")


def _pids_max(limit: int | None) -> int | None:
    return limit if limit is not None and limit > 0 else None


def _umask(mask: int | None) -> int:
    if mask is None:
        return UMASK
    if not 0 <= mask <= 0o777:
        raise InvalidArgument(f"{mask:#o} is out of range", field="umask", takes="0 to 0o777")
    return mask


def _oom_score_adj(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise InvalidArgument(f"{value} is out of range", field="oom_score_adj", takes="-1000 to 1000")
    return value


def _warnings(spec: ContainerSpec) -> Iterable[str]:
    nowhere = [join.name for join in spec.networks] == [NONE]
    if nowhere and (spec.ports or spec.publish_all):
        yield "ports are published, but the container has no network"


# --------------------------------------------------------------------------------------------- ports


def exposed_mappings(spec: ContainerSpec, image: Image) -> tuple[PortMapping, ...]:
    """``publish_all``: every exposed port that is not published by name, each on any free port of the host."""
    published = {(port.container_port, port.protocol) for port in spec.ports}
    exposed: dict[tuple[int, str], None] = {}
    for text in (*image.exposed_ports, *spec.expose):
        exposed.update(dict.fromkeys(parse_ports(text)))
    return tuple(
        PortMapping(number, protocol=protocol)
        for number, protocol in exposed
        if (number, protocol) not in published
    )


def _exposed_ports(spec: ContainerSpec, image: Image) -> tuple[str, ...]:
    """The image's, as it has them: one of a protocol that is not known here is no reason to refuse it."""
    asked = (f"{number}/{protocol}" for text in spec.expose for number, protocol in parse_ports(text))
    own = (text if "/" in text else f"{text}/tcp" for text in image.exposed_ports)
    return tuple(dict.fromkeys((*own, *asked)))


def parse_ports(text: str) -> tuple[tuple[int, str], ...]:
    """(port, protocol) for each of what ``expose`` has."""
    try:
        return ports.exposed(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{text!r} {error}", field="expose", takes="PORT or FIRST-LAST, with /tcp or /udp"
        ) from None
