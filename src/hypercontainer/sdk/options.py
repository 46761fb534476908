"""What people write in a call becomes a ContainerSpec: sizes as text, mappings for ports, volumes and variables.

Every field is an option by its own name, but for ``LEFT_OUT`` and ``FORMS``; the options' types are written out in
`container_options`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hypercontainer.config.loading import size
from hypercontainer.contract import times
from hypercontainer.contract.networks import Join
from hypercontainer.contract.ports import numbers
from hypercontainer.contract.reading import refused
from hypercontainer.contract.spec import (
    ContainerSpec,
    PortMapping,
    RestartPolicy,
    Tmpfs,
)
from hypercontainer.contract.volumes import HostPath, InjectedFile, NamedVolume, Source, Volume, VolumeMount
from hypercontainer.errors import InvalidArgument

Size = int | str  # bytes, or "256m"
Ports = Mapping[int | str, int | str | tuple[str, int | str]]
Pairs = Mapping[str, str]
ANYWHERE = "0.0.0.0"  # noqa: S104 - Docker's default, and the API's
# Fields that the calls fill in themselves, and those that only make sense in a whole specification of a pod.
LEFT_OUT = frozenset(
    "image command group rows columns stdin_once mounts pid_mode run_as_non_root role startup liveness readiness"
    " lifecycle termination_message_path termination_message_fallback".split()
)
_LISTS = frozenset(one.name for one in msgspec.structs.fields(ContainerSpec) if "tuple[" in str(one.type))


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
    if unknown := options.keys() - _PLAIN - FORMS.keys():
        raise InvalidArgument(f"a container has no option {min(unknown)!r}", hint="docs/sdk.md lists them")
    fields: dict[str, Any] = {"image": image, "command": words("command", command)}
    for name, value in options.items():
        if value is not None:
            fields |= FORMS[name].fields(value) if name in FORMS else {name: _plain(name, value)}
    try:
        return msgspec.convert(msgspec.to_builtins(fields), ContainerSpec)
    except msgspec.ValidationError as error:
        raise refused(error, ContainerSpec, of=f"container of {image}") from None


def moment(name: str, text: str) -> str:
    """Unix seconds, for hyperd, of what ``text`` says: the zone and the clock of this process count.  "" for ""."""
    try:
        return times.wire(text, time.time_ns())
    except ValueError as error:
        raise InvalidArgument(f"{text!r} {error}", field=name, takes=times.A_MOMENT) from None


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


def _port(inside: int | str, outside: int | str | tuple[str, int | str]) -> PortMapping:
    number, _, protocol = str(inside).partition("/")
    address, port = outside if isinstance(outside, tuple) else (ANYWHERE, outside)
    try:
        chosen = numbers(port) if isinstance(port, str) and "-" in port else (int(port),)
        last = chosen[-1] if len(chosen) > 1 else 0
        mapping = PortMapping(int(number), chosen[0], str(address), protocol.lower() or "tcp", last)
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
    if isinstance(value, str) and name in _LISTS:
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


def _networks(value: str | Join | Sequence[str | Join]) -> dict[str, Any]:
    given = (value,) if isinstance(value, str | Join) else value
    return {"networks": tuple(Join(one) if isinstance(one, str) else one for one in given)}


def _restart(value: str | RestartPolicy) -> dict[str, Any]:
    if isinstance(value, RestartPolicy):
        return {"restart": value}
    name, _, most = value.partition(":")
    if most and not most.isdecimal():
        raise InvalidArgument(f"restart {value!r}: {most!r} is no number", hint="such as on-failure:3")
    return {"restart": RestartPolicy(name, int(most or 0))}


@dataclass(frozen=True)
class Form:
    """An option that takes the place of ``field``: its type, and the fields that are made of its value."""

    field: str
    type: str
    fields: Callable[[Any], dict[str, Any]]


def _size(option: str) -> Form:
    field = f"{option}_bytes"
    return Form(field, "Size", lambda value: {field: size_bytes(option, value)})


FORMS: dict[str, Form] = {
    "env": Form("env", "Pairs", lambda value: {"env": pairs(value)}),
    "extra_hosts": Form(
        "extra_hosts",
        "Pairs",
        lambda value: {"extra_hosts": tuple(f"{name}:{at}" for name, at in value.items())},
    ),
    "tmpfs": Form(
        "tmpfs", "Pairs", lambda value: {"tmpfs": [Tmpfs(path, options) for path, options in value.items()]}
    ),
    "network": Form("networks", "str | Join | Sequence[str | Join]", _networks),
    "ports": Form("ports", "Ports", lambda value: {"ports": port_mappings(value)}),
    "volumes": Form("volumes", "Mapping[str, str | Source | Volume]", _volumes),
    "files": Form("files", "Mapping[str, bytes | str | InjectedFile]", _files),
    "restart": Form("restart", "str | RestartPolicy", _restart),
    "memory": _size("memory"),
    "disk_size": _size("disk_size"),
    "shm_size": _size("shm_size"),
}
_PLAIN = frozenset(ContainerSpec.__struct_fields__) - LEFT_OUT - {form.field for form in FORMS.values()}
