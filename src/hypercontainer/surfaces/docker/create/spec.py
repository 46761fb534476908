"""The body as a ContainerSpec, and what of it is kept in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import ContainerSpec, RestartPolicy
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.semantics.mounts import MASKED_PATHS, READONLY_PATHS, SHARED_MEMORY_BYTES
from hypercontainer.surfaces.docker.create import (
    body,
    fields,
    hyper_labels,
    logs,
    mounts,
    networks,
    resources,
)
from hypercontainer.surfaces.docker.create.body import Body, HostConfig, words
from hypercontainer.surfaces.docker.create.hyper_labels import HyperLabels

POLICIES: Final = ("no", "always", "on-failure", "unless-stopped")
# By field: what is as it is anyway, or can be, and what cannot be in a VM.
_MODES: Final = {
    "CgroupnsMode": (("private",), ("host",)),
    "IpcMode": (("private", "shareable", networks.CONTAINER), ("host", "none")),
    "PidMode": (("pod", networks.CONTAINER), ("host",)),
    "UTSMode": ((), ("host",)),
    "UsernsMode": (("host", "private"), ()),
    "Isolation": (("default",), ("process", "hyperv")),
    "VolumeDriver": (("local",), ()),
}
_OWN_KERNEL: Final = "every container has a kernel of its own, and shares none of it with the host"
_RUNTIMES: Final = frozenset(("", "hyper", "runc", "io.containerd.runc.v2"))
# What of Config is shown as it came.
_KEPT: Final = ("attach_stdin", "attach_stdout", "attach_stderr", "args_escaped", "on_build", "shell")


@dataclass(frozen=True)
class Wish:
    """``said``: what is kept with the container, to be shown again.  ``joins``: the container whose pod it comes into,
    "" where it is none; ``vm``: what its labels say."""

    spec: ContainerSpec
    said: dict[str, Any]
    warnings: tuple[str, ...]
    joins: str
    vm: HyperLabels


def translated(
    given: Body, *, name: str = "", platform: str = "", others: Mapping[str, ContainerSpec] | None = None
) -> Wish:
    """``others``: the containers that VolumesFrom names.  InvalidArgument and NotSupported, in Docker's words where it
    has the same to say."""
    host = given.host_config or HostConfig()
    said = fields.given(host)
    fields.check_refused(said)
    _check_modes(said)
    labels = hyper_labels.of(given.labels or {})
    taken = (
        [(others[ref], read_only) for ref, read_only in mounts.others(host.volumes_from or ())]
        if others
        else []
    )
    made = {
        **_process(given, host),
        **networks.fields(given, host),
        **mounts.fields(given, host, taken),
        **resources.fields(host),
        **_limits(host),
        **_privileges(host),
        **_life(given, host),
        **labels.fields(host),
        "name": name or None,
        "platform": platform or None,
        "pull": "never",
    }
    said["LogConfig"] = logs.shown(host.log_config or body.LogConfig())
    kept = {"HostConfig": fields.kept(said), "Config": _config(given)}
    return Wish(
        ContainerSpec(**made),
        {part: values for part, values in kept.items() if values},
        (*fields.warnings(said), *resources.warnings(host)),
        joined(host),
        labels,
    )


def joined(host: HostConfig) -> str:
    """The container whose pod it comes into; "" where it is none."""
    mode = host.network_mode or ""
    whose = mode.removeprefix(networks.CONTAINER) if mode.startswith(networks.CONTAINER) else ""
    for name, value in (("IpcMode", host.ipc_mode), ("PidMode", host.pid_mode)):
        if (value or "").startswith(networks.CONTAINER) and value != mode:
            raise NotSupported(
                f"HostConfig.{name} {value}: containers that share it are in one VM, and share the network too",
                hint=f"NetworkMode {value}",
            )
    return whose


def _config(given: Body) -> dict[str, Any]:
    said = msgspec.to_builtins(given)
    names = {each.name: each.encode_name for each in msgspec.structs.fields(given)}
    return {key: said[key] for key in (names[name] for name in _KEPT) if said.get(key)}


def _check_modes(said: Mapping[str, Any]) -> None:
    for name, (fine, impossible) in _MODES.items():
        value = said.get(name) or ""
        if value in impossible:
            raise NotSupported(f"HostConfig.{name} {value}: {_OWN_KERNEL}")
        another = value.startswith(networks.CONTAINER) and networks.CONTAINER in fine
        if value and value not in fine and not another:
            raise InvalidArgument(f"invalid {name}: {value}")
    if (runtime := said.get("Runtime", "")) not in _RUNTIMES:
        raise InvalidArgument(f"unknown or invalid runtime name: {runtime}")


# ------------------------------------------------------------------------------------- the process


def _process(given: Body, host: HostConfig) -> dict[str, Any]:
    if not given.image:
        raise InvalidArgument("no image specified")
    rows, columns = [*(host.console_size or ()), 0, 0][:2]
    return {
        "image": given.image,
        "command": words(given.cmd) or None,
        "entrypoint": _entrypoint(given),
        "env": tuple(given.env or ()),
        "working_dir": given.working_dir or None,
        "user": given.user or None,
        "groups": tuple(host.group_add or ()),
        "hostname": given.hostname or None,
        "domainname": given.domainname or "",
        "tty": bool(given.tty),
        "rows": rows,
        "columns": columns,
        "stdin_open": bool(given.open_stdin),
        "stdin_once": bool(given.stdin_once),
        "init": bool(host.init),
        "labels": dict(given.labels or {}),
        "annotations": dict(host.annotations or {}),
    }


def _entrypoint(given: Body) -> tuple[str, ...] | None:
    """An empty list is none of its own; a list with an empty text is none at all."""
    found = words(given.entrypoint) or None
    return () if found == ("",) else found


def _limits(host: HostConfig) -> dict[str, Any]:
    if (host.shm_size or 0) < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    return {
        "shm_size_bytes": host.shm_size or SHARED_MEMORY_BYTES,
        "ulimits": resources.ulimits(host),
        "sysctls": dict(host.sysctls or {}),
        "oom_score_adj": host.oom_score_adj or 0,
        "disk_size_bytes": mounts.storage(host.storage_opt or {}),
        "dns": tuple(host.dns or ()),
        "dns_search": tuple(host.dns_search or ()),
        "dns_options": tuple(host.dns_options or ()),
        "extra_hosts": tuple(host.extra_hosts or ()),
    }


# ------------------------------------------------------------------------------------- privileges


def _privileges(host: HostConfig) -> dict[str, Any]:
    for name, paths, own in (
        ("MaskedPaths", host.masked_paths, MASKED_PATHS),
        ("ReadonlyPaths", host.readonly_paths, READONLY_PATHS),
    ):
        if paths is not None and set(paths) != set(own) and not host.privileged:
            raise NotSupported(f"HostConfig.{name}: {fields.FATES[name].words}")
    return {
        "read_only": bool(host.readonly_rootfs),
        "devices": tuple(_device(device) for device in host.devices or ()),
        "privileged": bool(host.privileged),
        "cap_add": words(host.cap_add) or (),
        "cap_drop": words(host.cap_drop) or (),
        "pid_mode": "pod" if host.pid_mode else "",
        **_security(host.security_opt or ()),
    }


def _device(given: body.Device) -> str:
    inside = given.path_in_container or given.path_on_host
    return given.path_on_host if inside == given.path_on_host else f"{given.path_on_host}:{inside}"


def _security(options: Iterable[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for item in options:
        name, _, value = item.partition("=" if "=" in item else ":")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            made["no_new_privileges"] = value != "false"
        elif name == "seccomp" and value:
            made["seccomp"] = None if value == "builtin" else value
        elif (name, value) in (
            ("apparmor", "unconfined"),
            ("apparmor", "docker-default"),
            ("label", "disable"),
        ):
            continue  # nothing of the kind is in the guest
        elif name in ("apparmor", "label", "systempaths", "writable-cgroups"):
            raise NotSupported(f"SecurityOpt {item}: the guest has no {name}; the VM is the boundary")
        else:
            raise InvalidArgument(f"invalid security option: {item[:80]}")
    return made


# ------------------------------------------------------------------------------------- life


def _life(given: Body, host: HostConfig) -> dict[str, Any]:
    restart = restart_policy(host.restart_policy or body.RestartPolicy())
    if host.auto_remove and restart.name != "no":
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")
    return {
        "restart": restart,
        "auto_remove": bool(host.auto_remove),
        "stop_signal": given.stop_signal or None,
        "stop_timeout_s": given.stop_timeout,
        "log": logs.config(host.log_config or body.LogConfig()),
        "healthcheck": _healthcheck(given.healthcheck),
    }


def restart_policy(given: body.RestartPolicy) -> RestartPolicy:
    name, retries = given.name or "no", given.maximum_retry_count or 0
    if name not in POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if retries and name != "on-failure":
        raise InvalidArgument(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    if retries < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    return RestartPolicy(name, retries)


def _healthcheck(given: body.Healthcheck | None) -> Healthcheck | None:
    """None: the image's."""
    if given is None:
        return None
    for name in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        value = msgspec.to_builtins(given).get(name) or 0
        if value and value < 1_000_000:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if (given.retries or 0) < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    made = Healthcheck(
        tuple(given.test or ()),
        given.interval or 0,
        given.timeout or 0,
        given.start_period or 0,
        given.start_interval or 0,
        given.retries or 0,
    )
    return None if made == Healthcheck() else made
