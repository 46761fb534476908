"""Which addresses a pod's requests may be led to: never to this machine itself, and to those of private networks where
a user has named them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

# NAT64 and 6to4 carry an address of IPv4 (RFC 6052, RFC 3056).
_NAT64, _6TO4 = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16")
# What clouds tell their machines, credentials included, where it is no link-local address anyhow.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def reachable(texts: Iterable[str], *, named: bool) -> tuple[str, ...]:
    """Of these addresses; ``named``: a user has, and not a name server."""
    return tuple(text for text in texts if _reachable(ipaddress.ip_address(text), named=named))


def _reachable(address: Address, *, named: bool) -> bool:
    inner = _inner(address)
    if inner is not None:
        return _reachable(inner, named=named)
    if (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address in _METADATA
        or address == ipaddress.ip_address("255.255.255.255")
    ):
        return False
    return named or address.is_global


def _inner(address: Address) -> Address | None:
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[12:])
    return ipaddress.IPv4Address(address.packed[2:6]) if address in _6TO4 else None
