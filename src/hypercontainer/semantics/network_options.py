"""Options of networks as Docker's users write them, and what a new network is told of them (contract/networks.py).

The command line loads this.
"""

from __future__ import annotations

from hypercontainer.errors import InvalidArgument, NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TRUE, _FALSE = frozenset(("1", "t", "true")), frozenset(("0", "f", "false"))  # in any case
MTU = "com.docker.network.driver.mtu"
_MTU = (MTU, "mtu")
_IPV6 = "com.docker.network.enable_ipv6"
_NAT = "what leaves a network has the host's address; an internal one lets nothing out"
NAME = "com.docker.network.bridge.name"
# Options of Docker's bridge: the values that are so anyway ("" is any), and why another cannot be.
_BRIDGE: dict[str, tuple[frozenset[str], str]] = {
    "com.docker.network.bridge.enable_icc": (_TRUE, "pods of a network reach each other; two networks keep them apart"),
    "com.docker.network.bridge.enable_ip_masquerade": (_TRUE, _NAT),
    "com.docker.network.bridge.gateway_mode_ipv4": (frozenset(("nat",)), _NAT),
    "com.docker.network.bridge.gateway_mode_ipv6": (frozenset(("nat",)), _NAT),
    "com.docker.network.bridge.host_binding_ipv4": (frozenset(("0.0.0.0",)), "a port says it: 127.0.0.1:8080:80"),  # noqa: S104
    "com.docker.network.bridge.inhibit_ipv4": (_FALSE, "the gateway of a network is hyperd's"),
    NAME: (frozenset(), "hyperd names its bridges itself"),
    "com.docker.network.container_iface_prefix": (frozenset(("eth",)), "interfaces are called eth0, eth1, ..."),
    "com.docker.network.enable_ipv4": (_TRUE, "every network has IPv4"),
}  # fmt: skip
_BRIDGES = "pods are on hyperd's own bridges; a port is published on any address of the host"
DRIVERS = {
    "host": "a virtual machine has a network of its own, and not the host's",
    "none": "there is no need to make it: the network 'none' is there",
    "null": "there is no need to make it: the network 'none' is there",
    "macvlan": _BRIDGES,
    "ipvlan": _BRIDGES,
    "overlay": "there is no swarm, and so no network of several hosts",
}


def understood(options: Mapping[str, str], called: str) -> dict[str, Any]:
    """Fields of a ``NetworkSpec``.  ``called``: what stands before an option, for people.  NotSupported for one that
    would change something here."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name in _MTU:
            if not (value.isascii() and value.isdigit()):
                raise InvalidArgument(
                    f"{called}{name}={value}: a number of bytes is wanted", hint=f"{name}=1400"
                )
            found["mtu"] = int(value)
        elif name == _IPV6 and value.lower() in _TRUE | _FALSE:
            found["ipv6"] = value.lower() in _TRUE
        elif name not in _BRIDGE:
            raise NotSupported(f"{called}{name}: there is no such option here", hint=f"{MTU}=BYTES")
        elif value.lower() not in _BRIDGE[name][0]:
            raise NotSupported(f"{called}{name}={value}: {_BRIDGE[name][1]}")
    return found
