"""NetworkMode, EndpointsConfig, PortBindings and ExposedPorts of the body: a pod's networks and ports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from hypercontainer.contract import ports
from hypercontainer.contract.networks import DEFAULT, NONE, Join
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.surfaces.docker.create.body import Body, HostConfig, PortBinding
from hypercontainer.surfaces.docker.endpoints import Endpoint, join_of, links_of

CONTAINER: Final = "container:"
_PLAIN: Final = ("", "default", DEFAULT)
_HOST: Final = (
    "NetworkMode host: a VM has a network of its own, and not the host's; published ports are the host's, and the name "
    "host-gateway in ExtraHosts leads to it"
)


def fields(given: Body, host: HostConfig) -> dict[str, Any]:
    """``networks``, ``mac_address``, ``ports``, ``publish_all`` and ``expose`` of a ContainerSpec."""
    mode = host.network_mode or ""
    if mode == "host":
        raise NotSupported(_HOST)
    if mode.startswith(CONTAINER):
        return _in_another(given, host)
    config = given.networking_config
    endpoints = (config.endpoints_config if config else None) or {}
    made = _joins(mode, endpoints, given.mac_address or "")
    if given.network_disabled:
        made = {"networks": (Join(NONE),)}
    return made | {
        "ports": tuple(_bindings(host.port_bindings or {})),
        "publish_all": bool(host.publish_all_ports),
        "expose": _exposed(given),
        "links": _links(host, made.get("networks", ())),
    }


def _links(host: HostConfig, joins: Iterable[Join]) -> tuple[str, ...]:
    """Of all networks; clients say those of a single one here, too."""
    of_one = {link for join in joins for link in join.links}
    return tuple(link for link in links_of(host.links) if link not in of_one)


def _exposed(given: Body) -> tuple[str, ...]:
    for text in given.exposed_ports or ():
        _numbers(text)
    return tuple(given.exposed_ports or ())


def _in_another(given: Body, host: HostConfig) -> dict[str, Any]:
    """The network is that of the other's pod."""
    if host.port_bindings or host.publish_all_ports:
        raise InvalidArgument(
            "conflicting options: port publishing and the container type network mode",
            hint="the container that it joins publishes them",
        )
    if given.hostname:
        raise InvalidArgument("conflicting options: hostname and the network mode")
    return {}


def _joins(mode: str, endpoints: Mapping[str, Endpoint | None], mac: str) -> dict[str, Any]:
    """What is plain stays unsaid: the configuration says which network that is."""
    named = {DEFAULT if name in _PLAIN else name: place or Endpoint() for name, place in endpoints.items()}
    first = DEFAULT if mode in _PLAIN else mode
    if not named or (first not in _PLAIN and first not in named):
        named = {first: Endpoint(), **named}
    if first == NONE or NONE in named:
        if len(named) > 1:
            raise InvalidArgument("conflicting options: the network none goes with no other")
        return {"networks": (Join(NONE),)}
    joins = {name: join_of(name, place) for name, place in named.items()}
    if mac and not any(join.mac_address for join in joins.values()):
        chosen = first if first in joins else next(iter(joins))
        joins[chosen] = replace(joins[chosen], mac_address=mac)
    (only, *more) = joins.values()
    if not more and only == Join(DEFAULT, mac_address=only.mac_address):
        return {"mac_address": only.mac_address or None}
    return {"networks": tuple(joins.values())}


# ------------------------------------------------------------------------------------- ports


def _numbers(text: str) -> tuple[tuple[int, str], ...]:
    try:
        return ports.exposed(text)
    except ValueError as error:
        raise InvalidArgument(f"invalid port specification: {text!r} {error}".replace("'", '"')) from None


def _bindings(given: Mapping[str, list[PortBinding] | None]) -> Iterator[PortMapping]:
    for text, bindings in given.items():
        ((inside, protocol), *more) = _numbers(text)
        if more:
            raise InvalidArgument(f'invalid port specification: "{text}": a range is published port by port')
        for binding in bindings or ():
            yield _binding(inside, protocol, binding)


def _binding(inside: int, protocol: str, binding: PortBinding) -> PortMapping:
    address, outside = binding.host_ip or "", str(binding.host_port or "")
    mapping = PortMapping(inside, protocol=protocol)
    if address:
        mapping = replace(mapping, host_ip=address)
    if outside in ("", "0"):
        return mapping
    try:
        numbers = ports.numbers(outside)
    except ValueError as error:
        raise InvalidArgument(f'invalid port specification: "{outside}" {error}') from None
    return replace(mapping, host_port=numbers[0], host_port_last=numbers[-1] if len(numbers) > 1 else 0)
