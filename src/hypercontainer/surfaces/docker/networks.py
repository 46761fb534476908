"""Networks, and which containers are in them."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, field

from hypercontainer.contract.answers import NetworkInfo
from hypercontainer.contract.networks import DEFAULT, NetworkSpec, Subnet
from hypercontainer.errors import Conflict, InvalidArgument, NameTaken, NotFound, NotSupported
from hypercontainer.semantics import network_options, network_shape
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.docker.endpoints import Endpoint, join_of
from hypercontainer.surfaces.docker.versions import shaped
from hypercontainer.surfaces.docker.wording import Forbidden
from hypercontainer.surfaces.http.answers import Reply

_NOT_MADE = (DEFAULT, "host", "none", "default")
_OF_DOCKER = "com.docker.network."  # begins the options that its drivers know
_LOCAL = ("", "local")
_CONFIG = "a network is made by what is said of it, and not by another's configuration"


class Pool(Struct, frozen=True, rename="pascal"):
    subnet: str | None = None
    ip_range: str | None = field(default=None, name="IPRange")
    gateway: str | None = None
    reserved: dict[str, str] | None = field(default=None, name="AuxiliaryAddresses")


class Ipam(Struct, frozen=True, rename="pascal"):
    driver: str | None = None
    config: list[Pool] | None = None


class Source(Struct, frozen=True, rename="pascal"):
    network: str | None = None


class Wish(Struct, frozen=True, rename="pascal"):
    """What says nothing here is passed over: CheckDuplicate, the IPAM driver's options."""

    name: str = ""
    driver: str | None = None
    scope: str | None = None
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: Source | None = None
    ipam: Ipam | None = field(default=None, name="IPAM")
    ipv4: bool | None = field(default=None, name="EnableIPv4")
    ipv6: bool | None = field(default=None, name="EnableIPv6")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Member(Struct, frozen=True, rename="pascal"):
    """Who comes, or goes."""

    container: str = ""
    endpoint: Endpoint | None = field(default=None, name="EndpointConfig")
    force: bool | None = None


# ------------------------------------------------------------------------------------- looked at


async def find(call: Call) -> Reply:
    networks = await call.engine.networks.find(filters=call.query.filters(), given=True)
    return found([shaped("network", _shown(info, call, listed=True), call.version) for info in networks])


async def inspect(call: Call) -> Reply:
    if call.query.text("scope") not in _LOCAL:
        raise _missing(call.name)
    with _worded(call.name):
        info = await call.engine.networks.inspect(call.name)
    return found(shaped("network", _shown(info, call), call.version))


def _shown(info: NetworkInfo, call: Call, *, listed: bool = False) -> dict[str, Any]:
    """``listed``: without who is in it, as with Docker."""
    shown = network_shape.network(msgspec.to_builtins(info))
    shown.pop("CNI", None)
    shown["Options"] = info.options or (shown["Options"] if info.name == DEFAULT else {})
    if listed:
        shown.pop("Services", None)
        return {**shown, "Containers": {}}
    if not call.query.flag("verbose"):
        shown.pop("Services", None)
    return {
        **shown,
        "Status": {"IPAM": {"Subnets": {each.subnet: _use(each, info) for each in info.subnets}}},
    }


def _use(subnet: Subnet, info: NetworkInfo) -> dict[str, int]:
    """How many addresses are in use, the network's own among them, and how many more pods can have."""
    network = ipaddress.ip_network(subnet.subnet)
    used = {network.network_address, ipaddress.ip_address(subnet.gateway)}
    if network.version == 4:
        used.add(network.broadcast_address)
    for member in info.members:
        end = member.endpoint.address if network.version == 4 else member.endpoint.address6
        if end:
            used.add(ipaddress.ip_interface(end).ip)
    pool = ipaddress.ip_network(subnet.ip_range or subnet.subnet)
    left = pool.num_addresses - sum(address in pool for address in used)
    return {"IPsInUse": len(used), "DynamicIPsAvailable": min(left, 2**64 - 1)}


# ------------------------------------------------------------------------------------- made, removed


async def create(call: Call) -> Reply:
    wish = call.json(Wish)
    _check(wish)
    try:
        made = await call.engine.networks.create(_spec(wish))
    except NameTaken as error:
        raise Conflict(f"network with name {wish.name} already exists") from error
    except Conflict as error:
        # Addresses that are taken are none: who is told of a conflict looks for the network, and tries again.
        raise Forbidden(error.message, hint=error.hint) from error
    return found({"Id": made.id, "Warning": ""}, 201)


def _check(wish: Wish) -> None:
    """What there is one of, or none."""
    if not wish.name:
        raise InvalidArgument("a network needs a name")
    if wish.name in _NOT_MADE:
        raise Forbidden(f"operation is not permitted on predefined {wish.name} network")
    driver = wish.driver or "bridge"
    if driver not in ("bridge", "default"):
        raise NotFound(f'plugin "{driver[:80]}" not found', hint=network_options.DRIVERS.get(driver))
    if (wish.scope or "") not in _LOCAL:
        raise NotSupported(f"scope {wish.scope}: there is no swarm")
    if wish.ingress:
        raise NotSupported("there is no swarm, and so no ingress")
    if wish.config_only or (wish.config_from and wish.config_from.network):
        raise NotSupported(_CONFIG)
    if wish.ipv4 is False:
        raise NotSupported("every network has IPv4", hint="EnableIPv6 adds the other")
    if wish.ipam and wish.ipam.driver not in (None, "", "default"):
        raise NotFound(f'plugin "{wish.ipam.driver[:80]}" not found')


def _spec(wish: Wish) -> NetworkSpec:
    options = wish.options or {}
    known = {
        name: value
        for name, value in options.items()
        if name.startswith(_OF_DOCKER) and name != network_options.NAME
    }
    told = {"ipv6": bool(wish.ipv6), **network_options.understood(known, "option ")}
    return NetworkSpec(
        wish.name,
        subnets=tuple(_subnets((wish.ipam and wish.ipam.config) or [])),
        internal=bool(wish.internal),
        attachable=bool(wish.attachable),
        labels=wish.labels or {},
        options=options,
        **told,
    )


def _subnets(pools: list[Pool]) -> Iterator[Subnet]:
    for pool in pools:
        if pool.reserved:
            raise NotSupported(
                "auxiliary addresses are not kept", hint="IPRange says which addresses pods get"
            )
        if pool.subnet:
            yield Subnet(pool.subnet, pool.gateway or "", pool.ip_range or "")
        elif pool.gateway or pool.ip_range:
            raise InvalidArgument("a gateway, or a range of addresses, needs a subnet to be in")


async def remove(call: Call) -> Reply:
    with _worded(call.name):
        await call.engine.networks.remove(call.name, under_stopped=True)
    return done()


async def prune(call: Call) -> Reply:
    pruned = await call.engine.networks.prune(filters=call.query.filters(pruning=True), under_stopped=True)
    return found({"NetworksDeleted": list(pruned.removed) or None})


# ------------------------------------------------------------------------------------- who is in them


async def connect(call: Call) -> Reply:
    member = call.json(Member)
    join = join_of(call.name, member.endpoint or Endpoint())
    container = await call.container(member.container)
    with _worded(call.name):
        await call.engine.networks.connect(call.name, container.id, join=join, under_stopped=True)
    return done(200)


async def disconnect(call: Call) -> Reply:
    member = call.json(Member)
    container = await call.container(member.container)
    with _worded(call.name):
        await call.engine.networks.disconnect(call.name, container.id, force=bool(member.force))
    return done(200)


@contextlib.contextmanager
def _worded(network: str) -> Iterator[None]:
    """What a network's state forbids is a 403 of Docker's."""
    try:
        yield
    except Conflict as error:
        raise Forbidden(error.message, hint=error.hint, remedies=error.remedies) from error
    except NotFound as error:
        raise _missing(network) from error


def _missing(network: str) -> NotFound:
    return NotFound(f"network {network} not found")
