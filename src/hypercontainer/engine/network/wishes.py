"""What is wished of a network, and of a place in one: checked, and completed.  Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from hypercontainer.contract.networks import DEFAULT, MTU_MAX, MTU_MIN, NONE, USER, NetworkSpec, Subnet
from hypercontainer.engine import names
from hypercontainer.errors import InvalidArgument
from hypercontainer.network import addresses
from hypercontainer.network.parts import Network

SPECIAL = (USER, NONE)  # of a pod the only one
MEANT = (*SPECIAL, "host", "default")  # what means something else than a network of this name
ALIAS_MAX = 63  # characters: a label of DNS


def check(spec: NetworkSpec) -> None:
    names.check_name(spec.name, kind="network")
    if spec.name in MEANT:
        raise InvalidArgument(
            f"{spec.name!r} is no name for a network: it means something else", field="name"
        )
    if spec.mtu is not None and not MTU_MIN <= spec.mtu <= MTU_MAX:
        raise InvalidArgument(f"an MTU of {spec.mtu} is out of range", hint=f"from {MTU_MIN} to {MTU_MAX}")


def check_aliases(aliases: Iterable[str]) -> None:
    for alias in aliases:
        if not names.NAME.fullmatch(alias) or len(alias) > ALIAS_MAX:
            raise InvalidArgument(
                f"{alias[:80]!r} is no name", field="networks", takes="letters, digits, _, . and -"
            )


def subnets(spec: NetworkSpec, taken: Sequence[Network]) -> tuple[Subnet, ...]:
    """Those of a new network, of which there is one of IPv4 at least."""
    wished = [addresses.checked(each, taken) for each in spec.subnets]
    if addresses.doubled(wished):
        raise InvalidArgument("a network has one subnet of each version of IP", field="subnets")
    versions = {ipaddress.ip_network(each.subnet).version for each in wished}
    if 4 not in versions:
        pool = addresses.LARGE_POOL if spec.name == DEFAULT else addresses.POOL
        wished.insert(0, addresses.checked(Subnet(str(addresses.chosen(pool, taken))), ()))
    if spec.ipv6 and 6 not in versions:
        wished.append(addresses.checked(Subnet(str(addresses.chosen6())), ()))
    return tuple(wished)


def has6(wished: Iterable[Subnet]) -> bool:
    return any(ipaddress.ip_network(each.subnet).version == 6 for each in wished)
