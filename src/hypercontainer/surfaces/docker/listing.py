"""Containers as lists have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from msgspec import to_builtins

from hypercontainer.contract.answers import Inspect, Port
from hypercontainer.contract.states import State
from hypercontainer.engine import times, views
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.semantics import network_shape, shape
from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.docker.inspecting import in_memory
from hypercontainer.surfaces.docker.versions import Version
from hypercontainer.surfaces.http.answers import Reply

# Of a place in a network, what only an inspection tells.
_UNTOLD = dict.fromkeys(("Links", "Aliases", "DriverOpts", "DNSNames"))


async def listed(call: Call) -> Reply:
    query, containers = call.query, call.engine.containers
    limit = max(0, query.number("limit") or 0)
    chosen = await containers.chosen(
        all=query.flag("all") or limit > 0, limit=limit or None, filters=query.filters()
    )
    sizes = await containers.sizes([each for each, _ in chosen]) if query.flag("size") else {}
    return found([await as_listed(*each, call.version, sizes) for each in chosen])


@dataclass
class _Lines:
    """Of one container, as it is while it has these records: by version."""

    of: tuple[ContainerRecord, PodRecord, str]
    lines: dict[Version, dict[str, Any]] = field(default_factory=dict)


# Lists are asked for again and again, of many containers, of which few have changed.
_KNOWN: WeakKeyDictionary[Container, _Lines] = WeakKeyDictionary()


async def as_listed(
    container: Container, image: str, version: Version, sizes: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    record, pod = container.record, container.sandbox.record.value
    known = _KNOWN.get(container)
    if known is None or any(old is not new for old, new in zip(known.of, (record, pod, image), strict=True)):
        known = _KNOWN[container] = _Lines((record, pod, image))
    if version not in known.lines:
        made = line(await container.inspect(), image)
        known.lines[version] = versions.shaped("container line", made, version)
    written, whole = sizes.get(container.id, (None, None))
    now = {"Status": views.status(record, pod), "SizeRw": written, "SizeRootFs": whole}
    return {**known.lines[version], **{name: value for name, value in now.items() if value}}


def line(of: Inspect, image: str) -> dict[str, Any]:
    """Without what time alone changes, and sizes."""
    places = {
        "network": to_builtins(of.network),
        "networks": of.networks,
        "joins": to_builtins(of.joins),
        "spec": {"networks": to_builtins(of.spec.networks)},
    }
    networks = network_shape.places(places, of.pod, (of.name,))
    return {
        "Id": of.id,
        "Names": [f"/{of.name}"],
        "Image": image,
        "ImageID": of.image_id,
        "Command": _command(of),
        "Created": times.to_ns(of.created) // 10**9,
        "Ports": [_port(port) for port in of.ports] if _runs(of) else [],
        "Labels": of.labels,
        "State": state(of.state),
        "HostConfig": {
            "NetworkMode": network_shape.mode(places),
            **({"Annotations": of.spec.annotations} if of.spec.annotations else {}),
        },
        "NetworkSettings": {"Networks": {name: {**each, **_UNTOLD} for name, each in networks.items()}},
        "Mounts": [
            *shape.mounts(to_builtins(of.spec.volumes), to_builtins(of.spec.mounts), of.disks),
            *in_memory(of),
        ],
        "Health": _health(of),
    }


def _runs(of: Inspect) -> bool:
    return of.state in (State.RUNNING.value, State.PAUSED.value)


def state(here: str) -> str:
    """Docker knows none between created and running."""
    return State.CREATED.value if here == State.STARTING.value else here


def _health(of: Inspect) -> dict[str, Any]:
    if of.health is None or not _runs(of):
        return {"Status": "none", "FailingStreak": 0}
    return {"Status": of.health.status, "FailingStreak": of.health.failing_streak}


def _command(of: Inspect) -> str:
    """Words with blanks in single quotes, and nothing else."""
    first, *rest = (*of.config.entrypoint, *of.config.command) or ("",)
    return " ".join([first, *(f"'{word}'" if " " in word else word for word in rest)])


def _port(port: Port) -> dict[str, Any]:
    where = {"IP": port.host_ip, "PublicPort": port.host_port} if port.host_port else {}
    return {**where, "PrivatePort": port.container_port, "Type": port.protocol}
