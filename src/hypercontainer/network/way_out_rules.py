"""The rules of an ordinary user's way out of the namespace of networks: data for ``nft``, beside those of ``rules``.

Whoever carries the way out brings what comes to a published port to a port of the way out's own address; from there it
is led to the pod.  What the pod sees is who asked.
"""

from __future__ import annotations

from hypercontainer.network import nft
from hypercontainer.network.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    INET,
    IPV4,
    NETWORK,
    PREROUTING,
    TRANSPORT,
    Chain,
    Match,
    Table,
)
from hypercontainer.network.rules import DESTINATION_NAT, TCP, UPLINK
from hypercontainer.network.sets import IP4, PORT, PROTOCOL, Set

# A pod, the host as it calls it, a port of that: the host as the way out calls its loopback address.
OPENED = Set("opened", (IP4, IP4, PORT), (IP4, PORT))
FLOWS = Set("flows", (IP4,), dynamic=True)  # of a pod
FLOWS_MAX = 1024  # so that no pod takes all of the carrier's sockets, which are 8192
LED = Set("led", (PROTOCOL, PORT), (IP4, PORT))  # of the way out's address: to which pod
SHUT = Set("shut", (IP4,))  # who is beyond it for the way out's sake alone, and no pod's to speak to


def table() -> Table:
    by_port = [nft.load_meta("L4PROTO", 0), nft.load(TRANSPORT, 2, 2, 1), nft.found(LED, register=0)]
    into, out = nft.by_interface("IIFNAME", UPLINK), nft.by_interface("OIFNAME", UPLINK)
    ip4 = nft.of_family(IPV4)
    led: Match = [*into, *ip4, *nft.to_this_host(), *by_port, nft.destination_nat(IPV4, 0, 1)]
    away = nft.by_interface("IIFNAME", UPLINK, nft.UNEQUAL)
    asked = [nft.load(NETWORK, 12, 4), nft.load(NETWORK, 16, 4, 1), nft.load(TRANSPORT, 2, 2, 2)]
    opened: Match = [*away, *ip4, *nft.of_protocol(TCP), *asked, nft.found(OPENED, register=0)]
    opened.append(nft.destination_nat(IPV4, 0, 1))
    forward: list[Match] = [
        [*nft.known_connection(), nft.verdict(ACCEPT)],
        [*out, *ip4, nft.load(NETWORK, 12, 4), nft.more_connections(FLOWS, FLOWS_MAX), nft.verdict(DROP)],
        [*nft.translated_connection(), nft.verdict(ACCEPT)],
        [*out, *ip4, nft.load(NETWORK, 16, 4), nft.found(SHUT), nft.verdict(DROP)],
    ]
    chains = (
        # What comes to a service is led to a pod before, if there is any (`fabric`).
        Chain("prerouting", (led, opened), PREROUTING, DESTINATION_NAT + 1, "nat"),
        Chain("forward", tuple(forward), FORWARD),
    )
    return Table(INET, "way_out", (FLOWS, LED, OPENED, SHUT), chains)
