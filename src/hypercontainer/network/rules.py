"""The rules that networks are kept by: data for ``nft``.

In the namespace of networks, ``bridged`` says what a pod may send at all (frames from its own MAC address, from its
own IP addresses, and no announcements of routers), and ``routed`` what is let through between networks, to the way out
and to this namespace itself.  On the host, ``host`` translates: what pods send out, and what comes to published ports.

A pod, a network and a published port are elements of sets: to come and go they change no rule.
"""

from __future__ import annotations

import struct

from hypercontainer.network import nft
from hypercontainer.network.nft import (
    ACCEPT,
    BRIDGE,
    DROP,
    EQUAL,
    FORWARD,
    INET,
    INPUT,
    IPV4,
    IPV6,
    LINK,
    NETWORK,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    TRANSPORT,
    UNEQUAL,
    Chain,
    Match,
    Table,
)
from hypercontainer.network.parts import DEVICE, METADATA, PLACES, RESOLVER
from hypercontainer.network.policy import kernel as policy
from hypercontainer.network.sets import IFNAME, IP4, IP6, MAC, MARK, PORT, PROTOCOL, Set, packed

NAME = "hyper"
UPLINK = "uplink"  # the way out of the namespace
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
DNS_PORT = 53
_ETHER_IP4, _ETHER_ARP, _ETHER_IP6 = 0x0800, 0x0806, 0x86DD
_ROUTER_ADVERTISEMENT, _REDIRECT = 134, 137
_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = 135, 136
_SYN, _SYN_RST_ACK = b"\x02", b"\x16"  # of TCP's flags
_RAW, DESTINATION_NAT, _SOURCE_NAT, _BRIDGED = -300, -100, 100, -200
# Of a bridge's own group addresses (IEEE 802.1Q, table 8-1) the last 4 bits differ.
_GROUP, _GROUP_MASK = bytes.fromhex("0180c2000000"), bytes.fromhex("fffffffffff0")

# Of the namespace: whose address a device has (a pod's tap device), and from which networks there is no way out.
MACS = Set("macs", (IFNAME, MAC))
ADDRESSES4 = Set("addresses4", (IFNAME, IP4))
ADDRESSES6 = Set("addresses6", (IFNAME, IP6))
INTERNAL = Set("internal", (IFNAME,))
SAME = Set("same", (IFNAME, IFNAME))  # a network, twice: what is led from it to it
# Of the namespace too: where services have their addresses, and which pods stand behind these, by a place among PLACES.
SERVICES = Set("services", (IP4,), intervals=True)
SERVICES4 = Set("services4", (IP4, PROTOCOL, PORT, MARK), (IP4, PORT))
STICKY4 = Set("sticky4", (IP4, PROTOCOL, PORT, MARK), (IP4, PORT))
OWN4 = Set(
    "own4", (IP4, IP4, PROTOCOL, PORT, MARK), (IP4, PORT)
)  # which one pod has for itself, that is named first
# Of the host: where a port leads to, at one of its addresses and at all of them.
AT4 = Set("at4", (IP4, PROTOCOL, PORT), (IP4, PORT))
AT6 = Set("at6", (IP6, PROTOCOL, PORT), (IP6, PORT))
ANY4 = Set("any4", (PROTOCOL, PORT), (IP4, PORT))
ANY6 = Set("any6", (PROTOCOL, PORT), (IP6, PORT))
# Of the host's loopback address: to which pods a port is open.
OPENED = Set("opened", (IP4, PORT), (IP4, PORT))
WAYS_OUT = Set("ways_out", (IFNAME,))  # interfaces; where there are virtual machines one is often a bridge

_OUT = nft.by_interface("OIFNAME", UPLINK)
_SAME: Match = [nft.load_meta("IIFNAME"), nft.load_meta("OIFNAME", 4), nft.found(SAME)]
_TO_SERVICE: Match = [*nft.of_family(IPV4), nft.load(NETWORK, 16, 4), nft.found(SERVICES)]


def bridged() -> Table:
    drop, accept = nft.verdict(DROP), nft.verdict(ACCEPT)
    iif, source = nft.load_meta("IIFNAME"), nft.load(LINK, 6, 6, 4)
    ip4, ip6 = nft.of_ethertype(_ETHER_IP4), nft.of_ethertype(_ETHER_IP6)
    arp = [*nft.of_ethertype(_ETHER_ARP), iif, nft.load(NETWORK, 8, 6, 4), nft.found(MACS)]
    icmp6 = [*ip6, *nft.of_protocol(ICMP6)]
    advertised = [nft.load(TRANSPORT, 0, 1), nft.compare(bytes([_NEIGHBOUR_ADVERTISEMENT]))]
    target = [iif, nft.load(TRANSPORT, 8, 16, 4), nft.found(ADDRESSES6, inverted=True)]
    rules: list[Match] = [
        [iif, source, nft.found(MACS, inverted=True), drop],
        policy.too_fast(),
        [*ip4, iif, nft.load(NETWORK, 12, 4, 4), nft.found(ADDRESSES4, inverted=True), drop],
        *policy.through_the_gateway(ip4, 16, policy.HIDDEN4),
        [*ip4, accept],
        [*arp, nft.load(NETWORK, 14, 4, 4), nft.found(ADDRESSES4), accept],
        *(
            [*icmp6, nft.load(TRANSPORT, 0, 1), nft.compare(bytes([kind])), drop]
            for kind in (_ROUTER_ADVERTISEMENT, _REDIRECT)
        ),
        [*icmp6, *advertised, *target, drop],
        [*ip6, iif, nft.load(NETWORK, 8, 16, 4), nft.found(ADDRESSES6, inverted=True), drop],
        # Neighbours find each other, whoever may speak to whom.
        *(
            [*icmp6, nft.load(TRANSPORT, 0, 1), nft.compare(bytes([kind])), accept]
            for kind in (_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT)
        ),
        *policy.through_the_gateway(ip6, 24, policy.HIDDEN6),
        [*ip6, accept],
    ]
    # A bridge learns from what comes to addresses of its own, and nothing has looked at that before.
    to_bridge = [nft.load(LINK, 0, 6), nft.masked(_GROUP_MASK), nft.compare(_GROUP), drop]
    chains = (
        Chain("from_pods", tuple(rules), PREROUTING, _BRIDGED, policy=DROP),
        Chain("to_bridge", (to_bridge,), INPUT, _BRIDGED),
    )
    return Table(BRIDGE, NAME, (MACS, ADDRESSES4, ADDRESSES6, *policy.OF_FRAMES), chains)


def routed(*, masquerade: bool) -> Table:
    """``masquerade``: what goes out has the namespace's own address."""
    drop = nft.verdict(DROP)
    devices = [(UPLINK, 16), ("lo", 16), (DEVICE, len(DEVICE))]
    others = [nft.compare(name.encode().ljust(size, b"\0"), UNEQUAL) for name, size in devices]
    resolver, udp = nft.compare(packed(IP4, RESOLVER)), nft.of_protocol(UDP)
    asks = [*nft.of_family(IPV4), nft.load(NETWORK, 16, 4), resolver, *udp, *_FOR_NAMES]
    told = [*nft.of_family(IPV4), nft.load(NETWORK, 12, 4), resolver, *udp]
    guard = ([nft.load_meta("IIFNAME"), *others, drop], [*asks, nft.untracked()])
    chains = [
        # A pod's tap device speaks to its bridge and to nobody else, whatever becomes of that.  Questions to the name
        # server leave nothing behind: each comes from another port.
        Chain("guard", guard, PREROUTING, _RAW),
        Chain("answers", ([*told, nft.untracked()],), OUTPUT, _RAW),
        Chain("forward", _led(), FORWARD, policy=DROP),
        Chain("input", _taken(), INPUT, policy=DROP),
        Chain("output", _of_proxy(), OUTPUT),
        Chain(policy.ALLOWED, _let_through()),
        *policy.refusals(),
    ]
    outside = [nft.load_meta("IIFNAME"), nft.found(INTERNAL, inverted=True)]
    # By a service to a pod of one's own network, which otherwise would answer without a way back through here.
    sources: list[Match] = [[*_SAME, *nft.translated_connection(), nft.masquerade()]]
    if masquerade:
        sources.append([*_OUT, nft.masquerade()])
    chains += [
        Chain("prerouting", (*_served(), *policy.to_be_proxied(outside)), PREROUTING, DESTINATION_NAT, "nat"),
        Chain("postrouting", tuple(sources), POSTROUTING, _SOURCE_NAT, "nat"),
    ]
    sets = (INTERNAL, SAME, SERVICES, SERVICES4, STICKY4, OWN4, *policy.OF_PACKETS)
    return Table(INET, NAME, sets, tuple(chains))


_FOR_NAMES: Match = [nft.load(TRANSPORT, 2, 2), nft.compare(struct.pack(">H", DNS_PORT))]


def _led() -> tuple[Match, ...]:
    """Between networks and the way out."""
    into, accept, drop = nft.by_interface("IIFNAME", UPLINK), nft.verdict(ACCEPT), nft.verdict(DROP)
    return (
        [*nft.known_connection(), accept],
        # Behind it is nobody, or it would be theirs.
        [*_TO_SERVICE, *nft.of_protocol(TCP), nft.refused_stream()],
        [*_TO_SERVICE, nft.refused()],
        *policy.arriving(into),
        [*into, accept],
        *policy.without_quic(),
        *policy.leaving(),
        *([*_to(IPV4 if each.version == 4 else IPV6, str(each)), drop] for each in METADATA),
        [nft.goto(policy.ALLOWED)],
    )


def _served() -> tuple[Match, ...]:
    port = [nft.load_meta("L4PROTO", 1), nft.load(TRANSPORT, 2, 2, 2)]
    led = nft.destination_nat(IPV4, 0, 1)
    client = [nft.load(NETWORK, 12, 4, 3), nft.hashed(PLACES, 3, 4, 3)]
    addresses = [nft.load(NETWORK, 12, 4), nft.load(NETWORK, 16, 4, 1)]
    asked = [*addresses, nft.load_meta("L4PROTO", 2), nft.load(TRANSPORT, 2, 2, 3)]
    of_pod = [*nft.of_family(IPV4), *asked]
    return (
        [*of_pod, nft.drawn(PLACES, 4), nft.found(OWN4, register=0), led],
        [*_TO_SERVICE, *port, nft.drawn(PLACES, 3), nft.found(SERVICES4, register=0), led],
        [*_TO_SERVICE, *port, *client, nft.found(STICKY4, register=0), led],
    )


def _of_proxy() -> tuple[Match, ...]:
    """It answers pods, and reaches none: or one network would reach another through it.  Nobody else here does."""
    elsewhere = [nft.by_interface("OIFNAME", name, UNEQUAL) for name in (UPLINK, "lo")]
    matches = [each for match in elsewhere for each in match]
    begins = [nft.load(TRANSPORT, 13, 1), nft.masked(_SYN_RST_ACK), nft.compare(_SYN)]
    return ([*matches, *nft.of_protocol(TCP), *begins, nft.verdict(DROP)],)


def _let_through() -> tuple[Match, ...]:
    """What no policy denies."""
    accept, drop = nft.verdict(ACCEPT), nft.verdict(DROP)
    return (
        *policy.too_many(),
        [*_OUT, nft.load_meta("IIFNAME"), nft.found(INTERNAL), drop],
        [*_OUT, accept],
        [*_SAME, accept],
        [drop],
    )


def _taken() -> tuple[Match, ...]:
    """What is for the namespace itself."""
    from_pods, accept = nft.by_interface("IIFNAME", UPLINK, UNEQUAL), nft.verdict(ACCEPT)
    return (
        [*nft.known_connection(), accept],
        [*nft.by_interface("IIFNAME", "lo"), accept],
        [*from_pods, *nft.of_protocol(UDP), *_FOR_NAMES, accept],
        *policy.too_many(),
        *([*nft.of_protocol(protocol), accept] for protocol in (ICMP, ICMP6)),
        [*from_pods, *nft.of_protocol(TCP), *_FOR_NAMES, accept],
        [*from_pods, *policy.to_proxy(), accept],
    )


def host(name: str, link: str) -> Table:
    """``link``: the interface that leads to the namespace."""
    translated = (*_published(IPV4, AT4, ANY4), *_published(IPV6, AT6, ANY6))
    here, there = nft.by_interface("IIFNAME", link), nft.by_interface("OIFNAME", link)
    opened: Match = [*here, *nft.of_family(IPV4), *nft.of_protocol(TCP), *nft.to_this_host()]
    opened += [nft.load(NETWORK, 12, 4), nft.load(TRANSPORT, 2, 2, 1), nft.found(OPENED, register=0)]
    opened.append(nft.destination_nat(IPV4, 0, 1))
    loopback = [*nft.of_family(IPV4), nft.load(NETWORK, 12, 1), nft.compare(b"\x7f")]
    sources: tuple[Match, ...] = (
        [*there, *loopback, nft.masquerade()],  # of this host's own clients of "localhost"
        [*here, nft.masquerade()],  # what pods send out, and to a published port of a pod
    )
    accept, drop = nft.verdict(ACCEPT), nft.verdict(DROP)
    let_through = ([*nft.known_connection(), accept], [*nft.translated_connection(), accept])
    bridge = [nft.load_meta("OIFKIND"), nft.compare(b"bridge".ljust(16, b"\0"))]
    no_way_out = [nft.load_meta("OIFNAME"), nft.found(WAYS_OUT, inverted=True)]
    forward = (
        # From elsewhere than this host pods are reached by published ports alone ...
        *([*there, *match] for match in (*let_through, [drop])),
        # ... and reach others' own networks, which are bridges, in the same manner.
        *([*here, *match] for match in (*let_through, [*bridge, *no_way_out, drop])),
    )
    # The link may carry the loopback network out, for these clients, but not in, unless by the rule for what is open.
    to_loopback = [
        *here,
        *nft.of_family(IPV4),
        nft.load(NETWORK, 16, 1),
        nft.compare(b"\x7f"),
        drop,
    ]
    chains = (
        Chain("guard", (to_loopback,), PREROUTING, _RAW),
        Chain("forward", forward, FORWARD),
        Chain("prerouting", (opened, *translated), PREROUTING, DESTINATION_NAT, "nat"),
        Chain("output", translated, OUTPUT, DESTINATION_NAT, "nat"),
        Chain("postrouting", sources, POSTROUTING, _SOURCE_NAT, "nat"),
    )
    return Table(INET, name, (AT4, AT6, ANY4, ANY6, OPENED, WAYS_OUT), chains)


def forwarded(link: str) -> tuple[Match, Match]:
    """What another's chain that lets nothing through has to let through; of that our own table lets through what is to
    be.  In the words that iptables has: it refuses to read a chain with any other."""
    accept = nft.verdict(ACCEPT)
    return [*nft.by_interface("IIFNAME", link), accept], [*nft.by_interface("OIFNAME", link), accept]


def _published(family: int, at: Set, anywhere: Set) -> tuple[Match, ...]:
    offset, size = (16, IP4) if family == IPV4 else (24, IP6)
    taken = size.registers
    whole = [
        nft.load(NETWORK, offset, size.size),
        nft.load_meta("L4PROTO", taken),
        nft.load(TRANSPORT, 2, 2, taken + 1),
    ]
    short = [nft.load_meta("L4PROTO", 0), nft.load(TRANSPORT, 2, 2, 1)]
    led = nft.destination_nat(family, 0, taken)
    ours = [*nft.of_family(family), *nft.to_this_host()]
    if family == IPV6:  # to which no way leads out, as of IPv4's: its clients are refused, and try that
        ours += [nft.load(NETWORK, offset, size.size), nft.compare(packed(IP6, "::1"), UNEQUAL)]
    return (
        [*ours, *whole, nft.found(at, register=0), led],
        [*ours, *short, nft.found(anywhere, register=0), led],
    )


def _to(family: int, address: str) -> Match:
    offset, its = (16, IP4) if family == IPV4 else (24, IP6)
    return [
        *nft.of_family(family),
        nft.load(NETWORK, offset, its.size),
        nft.compare(packed(its, address), EQUAL),
    ]
