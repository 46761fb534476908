"""A container's place in a network, as Docker's clients ask for it (``EndpointSettings``)."""

from __future__ import annotations

from msgspec import Struct, field

from hypercontainer.contract.networks import Join
from hypercontainer.errors import NotSupported

Words = list[str] | None


class Addresses(Struct, frozen=True, rename="pascal"):
    ipv4: str | None = field(default=None, name="IPv4Address")
    ipv6: str | None = field(default=None, name="IPv6Address")
    link_local: Words = field(default=None, name="LinkLocalIPs")


class Endpoint(Struct, frozen=True, rename="pascal"):
    """What clients send back of an inspection besides, the addresses that it had, is passed over as with Docker."""

    addresses: Addresses | None = field(default=None, name="IPAMConfig")
    aliases: Words = None
    links: Words = None
    mac_address: str | None = None
    priority: int | None = field(default=None, name="GwPriority")
    options: dict[str, str] | None = field(default=None, name="DriverOpts")


def join_of(network: str, endpoint: Endpoint) -> Join:
    wished = endpoint.addresses or Addresses()
    for given, why in (
        (wished.link_local, "LinkLocalIPs: addresses of the link are the guest's own"),
        (endpoint.options, "DriverOpts: the driver has no options for a single container"),
    ):
        if given:
            raise NotSupported(f"network {network}: {why}")
    return Join(
        network,
        aliases=tuple(dict.fromkeys(endpoint.aliases or ())),
        ip=wished.ipv4 or "",
        ip6=wished.ipv6 or "",
        mac_address=endpoint.mac_address or "",
        priority=endpoint.priority or 0,
        links=links_of(endpoint.links),
    )


def links_of(typed: Words) -> tuple[str, ...]:
    """Those of the default network have slashes in some clients; an alias that is empty is none."""
    parts = [text.removesuffix(":").split(":") for text in typed or ()]
    return tuple(dict.fromkeys(":".join(part.rpartition("/")[2] for part in each) for each in parts))
