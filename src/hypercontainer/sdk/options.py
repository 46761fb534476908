"""What people write in a call becomes a ContainerSpec: sizes as text, mappings for ports, volumes and variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from hypercontainer.config.loading import size
from hypercontainer.contract.spec import (
    ContainerSpec,
    LogConfig,
    PortMapping,
    RestartPolicy,
    Tmpfs,
    Ulimit,
)
from hypercontainer.contract.volumes import HostPath, InjectedFile, NamedVolume, Source, Volume, VolumeMount
from hypercontainer.errors import InvalidArgument

Size = int | str  # bytes, or "256m"
Ports = Mapping[int | str, int | str | tuple[str, int]]
Pairs = Mapping[str, str]
ANYWHERE = "0.0.0.0"  # noqa: S104 - Docker's default, and the API's


class ContainerOptions(TypedDict, total=False):
    """What may be said of a new container beside its image and command; see docs/sdk.md.

    ``ports``: port in the container (80, "53/udp") -> port of the host (0: any free one), or (address, port).
    ``volumes``: path in the container -> name of a volume, "/directory" of the host, or a source of
    ``hypercontainer.contract.volumes``.  ``files``: path -> content.  ``restart``: "always", "on-failure:3", ...
    Sizes: bytes, or "256m".  The rest is as in ContainerSpec.
    """

    name: str
    entrypoint: Sequence[str]
    env: Pairs
    working_dir: str
    user: str
    groups: Sequence[str]
    hostname: str
    domainname: str
    tty: bool
    stdin_open: bool
    init: bool
    labels: Pairs
    annotations: Pairs
    network: str
    ports: Ports
    publish_all: bool
    expose: Sequence[str]
    dns: Sequence[str]
    dns_search: Sequence[str]
    dns_options: Sequence[str]
    extra_hosts: Pairs
    mac_address: str
    read_only: bool
    tmpfs: Pairs
    shm_size: Size
    disk_size: Size
    volumes: Mapping[str, str | Source | Volume]
    files: Mapping[str, bytes | str | InjectedFile]
    memory: Size
    cpus: float
    cpu_shares: int
    pids_limit: int
    ulimits: Sequence[Ulimit]
    sysctls: Pairs
    oom_score_adj: int
    privileged: bool
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    no_new_privileges: bool
    seccomp: str
    stop_signal: str
    stop_timeout_s: int
    restart: str | RestartPolicy
    auto_remove: bool
    log: LogConfig
    pod: str
    platform: str
    pull: str
    kernel: str
    initrd: str
    kernel_args: Sequence[str]
    accelerator: str
    template: bool


def container_spec(
    image: str | ContainerSpec, command: Sequence[str] | None, options: Mapping[str, Any]
) -> ContainerSpec:
    """Checked; InvalidArgument names the option that is wrong."""
    if isinstance(image, ContainerSpec):
        if command is not None or options:
            raise InvalidArgument(
                "a ContainerSpec says everything itself", hint="msgspec.structs.replace(spec, ...)"
            )
        return image
    if unknown := options.keys() - ContainerOptions.__annotations__.keys():
        raise InvalidArgument(f"a container has no option {min(unknown)!r}", hint="docs/sdk.md lists them")
    fields: dict[str, Any] = {"image": image, "command": words("command", command)}
    for name, value in options.items():
        if value is not None:
            fields |= _TAKERS[name](value) if name in _TAKERS else {name: _plain(name, value)}
    try:
        return msgspec.convert(msgspec.to_builtins(fields), ContainerSpec)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"container of {image}: {error}") from None


def words(name: str, value: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(value, str | bytes):
        raise InvalidArgument(
            f"{name} is a list of words, not one text", hint="shlex.split makes one of a line"
        )
    return None if value is None else tuple(value)


def pairs(value: Pairs) -> tuple[str, ...]:
    return tuple(f"{name}={text}" for name, text in value.items())


def port_mappings(ports: Ports) -> tuple[PortMapping, ...]:
    return tuple(_port(inside, outside) for inside, outside in ports.items())


def size_bytes(name: str, value: Size) -> int:
    try:
        return size(value)
    except ValueError as error:
        raise InvalidArgument(f"{name} {value!r}: {error}") from None


def _port(inside: int | str, outside: int | str | tuple[str, int]) -> PortMapping:
    number, _, protocol = str(inside).partition("/")
    address, port = outside if isinstance(outside, tuple) else (ANYWHERE, outside)
    try:
        mapping = PortMapping(int(number), int(port), str(address), protocol.lower() or "tcp")
    except ValueError:
        raise InvalidArgument(
            f"ports {inside!r}: {outside!r}: not a port", hint="such as {80: 8080}"
        ) from None
    if not (0 < mapping.container_port < 65536 and 0 <= mapping.host_port < 65536):
        raise InvalidArgument(f"ports {inside!r}: {outside!r}: not within 1-65535")
    return mapping


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(value)
    if isinstance(value, str) and "Sequence" in str(ContainerOptions.__annotations__[name]):
        words(name, value)
    return value


def _volumes(given: Mapping[str, str | Source | Volume]) -> dict[str, Any]:
    volumes: list[Volume] = []
    mounts = []
    for number, (path, source) in enumerate(given.items()):
        if isinstance(source, str):
            made = HostPath(source) if source.startswith("/") else NamedVolume(source)
            volume = Volume(f"volume-{number}", made)
        else:
            volume = source if isinstance(source, Volume) else Volume(f"volume-{number}", source)
        if volume not in volumes:
            volumes.append(volume)
        mounts.append(VolumeMount(volume.name, path, copy_up=isinstance(volume.source, NamedVolume)))
    return {"volumes": volumes, "mounts": mounts}


def _files(given: Mapping[str, bytes | str | InjectedFile]) -> dict[str, Any]:
    made = []
    for path, content in given.items():
        if isinstance(content, InjectedFile):
            made.append(msgspec.structs.replace(content, path=path))
        else:
            made.append(InjectedFile(path, content.encode() if isinstance(content, str) else bytes(content)))
    return {"files": made}


def _restart(value: str | RestartPolicy) -> dict[str, Any]:
    if isinstance(value, RestartPolicy):
        return {"restart": value}
    name, _, most = value.partition(":")
    if most and not most.isdecimal():
        raise InvalidArgument(f"restart {value!r}: {most!r} is no number", hint="such as on-failure:3")
    return {"restart": RestartPolicy(name, int(most or 0))}


_TAKERS: dict[str, Any] = {
    "env": lambda value: {"env": pairs(value)},
    "extra_hosts": lambda value: {"extra_hosts": tuple(f"{name}:{at}" for name, at in value.items())},
    "tmpfs": lambda value: {"tmpfs": [Tmpfs(path, options) for path, options in value.items()]},
    "ports": lambda value: {"ports": port_mappings(value)},
    "volumes": _volumes,
    "files": _files,
    "restart": _restart,
    "memory": lambda value: {"memory_bytes": size_bytes("memory", value)},
    "disk_size": lambda value: {"disk_size_bytes": size_bytes("disk_size", value)},
    "shm_size": lambda value: {"shm_size_bytes": size_bytes("shm_size", value)},
}
