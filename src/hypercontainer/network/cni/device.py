"""The interface that plugins have made for a pod, as its guest is to have it: what is written down of it."""

from __future__ import annotations

from msgspec import Struct


class Device(Struct, frozen=True, kw_only=True):
    """``addresses`` with their subnets' prefixes, ``told``: as a guest is told of them, with the prefix of what it
    reaches on the link.  ``routes``: "10.9.0.0/16 10.1.1.1", without a gateway where it is on the link; those to
    everywhere are ``gateways``."""

    mac: str
    mtu: int
    addresses: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()

    def address(self, version: int) -> str:
        """The first of this version of IP, "" where there is none."""
        return _first(self.addresses, version)

    def gateway(self, version: int) -> str:
        return _first(self.gateways, version)


def _first(texts: tuple[str, ...], version: int) -> str:
    return next((text for text in texts if (":" in text) == (version == 6)), "")
