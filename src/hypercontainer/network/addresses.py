"""Which addresses there are for networks, and which for the pods in one: pure.

Nothing is handed out that somebody on the machine has: subnets are held against the host's routes, addresses against
those of the network's other pods.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence

from hypercontainer.contract.networks import Subnet
from hypercontainer.errors import Conflict, InvalidArgument, Unavailable
from hypercontainer.network.parts import Address, Network

# Where networks are made whose subnet nobody said: (from, prefix of one).
LARGE_POOL = ("10.224.0.0/13", 18)  # of the default network, which is to have room for all pods
POOL = ("10.232.0.0/14", 24)
LINK_POOL = ("10.236.0.0/16", 30)  # between the host and the namespace of networks
SERVICE_POOL = ("10.237.0.0/16", 20)  # of one hyperd's services
WAY_OUT_POOL = (LINK_POOL[0], 29)  # the same, of an ordinary user, in which there are three
PREFIX6 = 64
LEAST_ADDRESSES = 4  # of a subnet: itself, the gateway, a pod, the broadcast
# Of this machine itself, of one link, of groups, of none (RFC 6890): what meets these is no network's.
_OTHERWISE_USED = [
    ipaddress.ip_network(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8")
]
_LOCAL6 = 0xFD << 120  # RFC 4193: 40 random bits follow
_TRIES = 64  # at random, before the first free one is looked for


def chosen(pool: tuple[str, int], taken: Iterable[Network]) -> Network:
    """The first of the pool that nobody has.  Unavailable where there is none."""
    base = ipaddress.IPv4Network(pool[0])
    size = 1 << (base.max_prefixlen - pool[1])
    place = int(base.network_address)
    ends = ((int(each[0]), int(each[-1])) for each in taken if each.version == 4 and each.prefixlen > 0)
    for first, last in sorted(ends):
        if first >= place + size:
            break  # and so are all that follow
        if last >= place:
            place = (last // size + 1) * size
    if place + size > int(base[-1]) + 1:
        raise Unavailable(
            f"all of {base} is in use on this machine", hint="say which subnet the network is to have"
        )
    return ipaddress.IPv4Network((place, pool[1]))


def chosen6() -> Network:
    """One of the machine's own that nobody else has, so likely as there are 2^40 (RFC 4193)."""
    return ipaddress.IPv6Network((_LOCAL6 | secrets.randbits(40) << 80, PREFIX6))


def checked(wish: Subnet, taken: Iterable[Network]) -> Subnet:
    """A subnet as it was asked for, its gateway chosen.  InvalidArgument, Conflict."""
    subnet = _network(wish.subnet, "subnet")
    if subnet.num_addresses < LEAST_ADDRESSES:
        raise InvalidArgument(
            f"{subnet} has no room for pods", field="subnets", takes="a larger one: /29, or /64"
        )
    if any(_meet(subnet, each) for each in _OTHERWISE_USED):
        raise InvalidArgument(f"{subnet} is not for networks", field="subnets", takes="such as 10.89.0.0/24")
    for other in taken:
        if other.prefixlen > 0 and _meet(subnet, other):
            raise Conflict(
                f"{subnet} overlaps {other}, which is in use on this machine", hint="choose another"
            )
    gateway = _inside(wish.gateway, subnet, "gateway") if wish.gateway else subnet[1]
    if gateway in (subnet.network_address, _last(subnet)):
        raise InvalidArgument(f"{gateway} is no address of one machine in {subnet}", field="gateway")
    pool = _network(wish.ip_range, "ip_range") if wish.ip_range else subnet
    if pool.version != subnet.version or not pool.subnet_of(subnet):  # type: ignore[arg-type]
        raise InvalidArgument(f"{pool} is no part of {subnet}", field="ip_range")
    return Subnet(str(subnet), str(gateway), wish.ip_range and str(pool))


def check_static(text: str, subnet: Subnet, taken: Collection[str]) -> str:
    """A static address.  InvalidArgument where it is not one of the subnet's pods, Conflict where a pod has it."""
    network = ipaddress.ip_network(subnet.subnet)
    address = _inside(text, network, "ip" if network.version == 4 else "ip6")
    if str(address) == subnet.gateway or address in (network.network_address, _last(network)):
        raise InvalidArgument(
            f"{address} is not for pods in {network}", field="ip", takes="another of its addresses"
        )
    if str(address) in taken:
        raise Conflict(f"{address} is another pod's already", hint="choose another address, or none")
    return str(address)


def free(subnet: Subnet, taken: Collection[str]) -> str:
    """An address that no pod has.  Of many, one at random: a name that somebody has remembered leads to nobody else
    soon.  Unavailable where there is none."""
    network = ipaddress.ip_network(subnet.subnet)
    pool = ipaddress.ip_network(subnet.ip_range or subnet.subnet)
    kept = {*taken, subnet.gateway, str(network.network_address), str(_last(network))}
    count = pool.num_addresses
    for _ in range(_TRIES if count > 2 * len(kept) else 0):
        if (text := str(pool[secrets.randbelow(count)])) not in kept:
            return text
    for address in _first(pool, len(kept) + 1):
        if str(address) not in kept:
            return str(address)
    raise Unavailable(
        f"all addresses of {pool} are in use", hint="remove pods, or make a network with a larger subnet"
    )


def _first(pool: Network, count: int) -> Iterator[Address]:
    for place in range(min(count, pool.num_addresses)):
        yield pool[place]


def _last(network: Network) -> Address:
    """Of IPv4 the broadcast address; IPv6 has none, and leaves its last out all the same."""
    return network.broadcast_address


def _meet(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _network(text: str, what: str) -> Network:
    try:
        return parsed(text)
    except ValueError as error:
        field = "subnets" if what == "subnet" else what
        raise InvalidArgument(str(error), field=field, takes="such as 10.89.0.0/24") from None


def parsed(text: str) -> Network:
    """ValueError says of it what is wrong, in few words."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        why = "has host bits set" if "host bits" in str(error) else "is no subnet"
        raise ValueError(f"{text[:60]!r} {why}") from None


def _inside(text: str, subnet: Network, field: str) -> Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(
            f"{text[:60]!r} is no address", field=field, takes="such as 10.89.0.5"
        ) from None
    if getattr(address, "scope_id", None):
        raise InvalidArgument(f"{text[:60]!r} has a scope", field=field, takes="an address without one")
    if address not in subnet:
        raise InvalidArgument(f"{address} is not in {subnet}", field=field, takes=f"one of {subnet}")
    return address


def doubled(subnets: Sequence[Subnet]) -> bool:
    """Whether two are of the same version of IP."""
    versions = [ipaddress.ip_network(each.subnet).version for each in subnets]
    return len(set(versions)) < len(versions)
