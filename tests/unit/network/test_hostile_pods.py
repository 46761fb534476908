"""What a pod sends that it may not: nobody hears it, and what it may send passes all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

import frames_of_pods as f
from pod_by_hand import A, Pod, networks, plugging
from private_host import private_host

OTHERS_MAC = "52:54:00:66:66:66"

Lie = Callable[[Pod, Pod], bytes]  # of a pod, to another of its network


def arp(operation: int, sender_mac: str, sender: str, target: str = f.BROADCAST) -> Lie:
    """By its own MAC address, with another's word in it."""

    def made(pod: Pod, other: Pod) -> bytes:
        words = {"own": pod.mac, "gateway": pod.router, "other": other.mac}
        those = {"own": pod.ip, "gateway": pod.gateway, "other": other.ip, "nobody": "0.0.0.0"}
        said = f.arp(operation, (words[sender_mac], those[sender]), (other.mac, other.ip))
        return f.ethernet(pod.mac, target, f.ARP, said)

    return made


def packet(made: Callable[[Pod, Pod], bytes]) -> Lie:
    """Of IP, from its own MAC address to the other."""

    def frame(pod: Pod, other: Pod) -> bytes:
        inner = made(pod, other)
        return f.ethernet(pod.mac, other.mac, f.IP6 if inner[0] >> 4 == 6 else f.IP4, inner)

    return frame


def good(pod: Pod, other: Pod) -> bytes:
    return f.udp((pod.ip, 9), (other.ip, 9), b"in a frame that is wrong")


OTHER_KINDS = (0x0000, 0x002E, 0x8035, 0x8863, 0x8864, 0x888E, 0x88CC, 0x88A8, 0x8847, 0xFFFF)


def of_kind(number: int) -> Lie:
    return lambda pod, other: f.ethernet(pod.mac, f.BROADCAST, number, good(pod, other))


LIES: dict[str, Lie] = {
    "another MAC address": lambda pod, other: f.ethernet(OTHERS_MAC, other.mac, f.IP4, good(pod, other)),
    "the other's MAC address": lambda pod, other: f.ethernet(other.mac, other.mac, f.IP4, good(pod, other)),
    "the gateway's MAC address": lambda pod, other: f.ethernet(
        pod.router, other.mac, f.IP4, good(pod, other)
    ),
    "another address of IPv4": packet(lambda pod, other: f.udp(("10.1.0.77", 9), (other.ip, 9), b"lie")),
    "the gateway's address of IPv4": packet(
        lambda pod, other: f.udp((pod.gateway, 9), (other.ip, 9), b"lie")
    ),
    "no address of IPv4": packet(lambda pod, other: f.udp(("0.0.0.0", 68), ("255.255.255.255", 67), b"lie")),
    "another address of IPv6": packet(lambda pod, other: f.udp(("fd01::77", 9), (other.ip6, 9), b"lie")),
    "the gateway's address of IPv6": packet(
        lambda pod, other: f.udp((pod.gateway6, 9), (other.ip6, 9), b"lie")
    ),
    "another link-local address": packet(lambda pod, other: f.udp(("fe80::77", 9), (other.local, 9), b"lie")),
    "an ARP reply for the gateway": arp(f.REPLY, "own", "gateway"),
    "an ARP reply for the gateway to one": arp(f.REPLY, "own", "gateway", "52:54:00:aa:00:03"),
    "an ARP reply for the other": arp(f.REPLY, "own", "other"),
    "an ARP reply with another MAC address": arp(f.REPLY, "other", "own"),
    "an ARP request for the gateway": arp(f.REQUEST, "own", "gateway"),
    "an ARP request with another MAC address": arp(f.REQUEST, "gateway", "own"),
    "an ARP request of nobody": arp(f.REQUEST, "own", "nobody"),
    "a router advertisement": lambda pod, other: f.ethernet(
        pod.mac, f.ALL_NODES_MAC, f.IP6, f.router(pod.local, pod.mac)
    ),
    "a router advertisement to one": packet(lambda pod, other: f.router(pod.local, pod.mac)),
    "a router advertisement behind options": packet(
        lambda pod, other: _behind_options(f.router(pod.local, pod.mac))
    ),
    "a redirect": packet(lambda pod, other: f.redirected(pod.local, other.local, "2001:db8::9", pod.local)),
    "a neighbour advertisement for the gateway": packet(
        lambda pod, other: f.advertised(pod.ip6, other.ip6, pod.gateway6, pod.mac)
    ),
    "a neighbour advertisement for the other": packet(
        lambda pod, other: f.advertised(pod.local, other.local, other.ip6, pod.mac)
    ),
    "a neighbour solicitation of nobody": lambda pod, other: f.ethernet(
        pod.mac, f.group_mac(f"ff02::1:ff00:{other.ip6[-1]}"), f.IP6, f.solicited("::", pod.mac, other.ip6)
    ),
    "a VLAN": lambda pod, other: f.tagged(f.ethernet(pod.mac, other.mac, f.IP4, good(pod, other))),
    "a VLAN of number 0": lambda pod, other: f.tagged(
        f.ethernet(pod.mac, other.mac, f.IP4, f.udp(("10.1.0.77", 9), (other.ip, 9), b"lie")), 0
    ),
    "a VLAN in a VLAN": lambda pod, other: f.tagged(
        f.tagged(f.ethernet(pod.mac, other.mac, f.IP4, good(pod, other))), 7
    ),
    **{f"ethertype {kind:#06x}": of_kind(kind) for kind in OTHER_KINDS},
}
# Addresses that a bridge takes for itself, and hears apart from what it hands on (IEEE 802.1D, table 7-10).
RESERVED = [f"01:80:c2:00:00:{last:02x}" for last in range(16)]


def _behind_options(packet: bytes) -> bytes:
    """The same packet of IPv6, with a header of options for the destination before what it carries."""
    options = bytes([packet[6], 0, 1, 4, 0, 0, 0, 0])
    length = (len(packet) - 40 + len(options)).to_bytes(2, "big")
    return packet[:4] + length + bytes([60]) + packet[7:40] + options + packet[40:]


@pytest.fixture(scope="module")
def pods(as_root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pod, Pod, Pod]]:
    """Of one network: who lies, to whom, and who stands by."""
    folder = tmp_path_factory.mktemp("host")
    with private_host(folder), networks(folder / "fabric", A) as fabric, plugging(fabric) as plug:
        yield plug(A, 2), plug(A, 3), plug(A, 4)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_reaches_nobody(pods: tuple[Pod, Pod, Pod], lie: Lie) -> None:
    pod, *others = pods
    for each in others:
        each.drain()
    with contextlib.suppress(OSError):  # the kernel takes no frame of it at all
        pod.send(lie(pod, others[0]))
    mark = pod.mark()
    for each in others:
        found = each.before(mark)
        # The gateway looks for its neighbours.
        assert all(frame.from_mac == pod.router and frame.kind == f.IP6 for frame in found), found


def settled(pod: Pod) -> None:
    """The gateway has dealt with all that it has sent."""
    pod.out(f.echo(pod.ip, pod.gateway))
    pod.hears(lambda frame: (frame.kind, frame.protocol) == (f.IP4, f.ICMP))


@pytest.mark.parametrize("reserved", RESERVED)
def test_no_address_of_the_bridges_own_lets_a_pod_be_another(
    pods: tuple[Pod, Pod, Pod], reserved: str
) -> None:
    """Of what these bring the bridge is not to learn where a MAC address is."""
    pod, other, third = pods
    third.mark()  # so that the bridge knows the others
    other.mark()
    for each in pods:
        each.drain()
    pod.send(f.ethernet(other.mac, reserved, f.IP4, good(pod, other)))
    data = b"for the other alone " + reserved.encode()
    third.say(other.mac, f.udp((third.ip, 9), (other.ip, 9), data))
    other.hears_udp(data)
    mark = third.mark()
    assert not [frame for frame in pod.before(mark) if frame.data == data]


@pytest.mark.parametrize("reserved", RESERVED)
def test_no_address_of_the_bridges_own_lets_a_pod_speak_as_another(
    pods: tuple[Pod, Pod, Pod], reserved: str
) -> None:
    """To the gateway, whose answers tell whom it has heard."""
    pod, other, _ = pods
    other.ask(other.gateway)  # which knows where to answer from now on
    for source in (pod.mac, other.mac):
        pod.send(f.ethernet(source, reserved, f.IP4, f.echo(other.ip, pod.gateway)))
    settled(pod)
    mark = pod.mark()
    assert not [frame for frame in other.before(mark) if (frame.from_mac, frame.kind) == (pod.router, f.IP4)]
