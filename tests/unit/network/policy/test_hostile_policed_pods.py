"""A pod with a policy that lies: by another's addresses, in pieces, by other protocols, in the middle of a stream."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

import frames_of_pods as f
from frames import ACK, FIN, PSH, RST, SYN, checksum
from hypercontainer.contract.policies import EgressRule, NetworkPolicy
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.parts import RESOLVER, Guard
from hypercontainer.network.policy.compiling import Compiled
from hypercontainer.network.policy.language import meaning
from pod_by_hand import A, Plug, Pod
from private_host import HOST, WORLD, PrivateHost

OUTSIDE = str(WORLD.ip)
GRE, SCTP, ESP = 47, 132, 50


@pytest.fixture
def world(host: PrivateHost) -> Iterator[socket.socket]:
    """Hears datagrams."""
    with host.remote(socket.SOCK_DGRAM) as made:
        yield made


@pytest.fixture
def pod(fabric: Fabric, plug: Plug, world: socket.socket) -> Pod:
    """It may say something to one port in the world."""
    rule = EgressRule((OUTSIDE,), ports=(f"{world.getsockname()[1]}/udp",))
    made = Compiled(1, meaning(NetworkPolicy((rule,))))
    fabric.guard((), (), by=made)
    return plug(A, 2, Guard(1))


def heard_last(pod: Pod, world: socket.socket) -> None:
    """Of all that was said the world hears the last alone."""
    pod.out(f.udp((pod.ip, 4999), world.getsockname(), b"the last"))
    assert world.recv(4000) == b"the last"


def fragments(pod: Pod, port: int, data: bytes, at: int) -> list[bytes]:
    """A datagram to the world in two pieces, of which the first has ``at`` bytes, a multiple of 8."""
    whole = f.udp((pod.ip, 4000), (OUTSIDE, port), data)
    head, body = whole[:20], whole[20:]
    made = []
    for begin, piece, more in ((0, body[:at], 0x2000), (at, body[at:], 0)):
        fields = struct.pack("!HHH", 20 + len(piece), 77, more | begin // 8)
        fresh = head[:2] + fields + head[8:10] + bytes(2) + head[12:]
        made.append(fresh[:10] + struct.pack("!H", checksum(fresh)) + fresh[12:] + piece)
    return made


def test_in_pieces_a_datagram_is_what_it_is_as_a_whole(pod: Pod, world: socket.socket) -> None:
    port = world.getsockname()[1]
    for number in (port + 1, 53):
        for piece in fragments(pod, number, b"denied" * 9, 8):
            pod.out(piece)
    for piece in fragments(pod, port, b"in two pieces" * 9, 8):
        pod.out(piece)
    assert world.recv(4000) == b"in two pieces" * 9
    first, _ = fragments(pod, port, b"x" * 64, 8)
    _, second = fragments(pod, port + 1, b"y" * 64, 8)
    pod.out(second)  # with no port at all
    heard_last(pod, world)
    del first


@pytest.mark.parametrize("protocol", [GRE, SCTP, ESP, 41, 4, 255])
def test_no_rule_allows_other_protocols(fabric: Fabric, plug: Plug, protocol: int) -> None:
    made = Compiled(1, meaning(NetworkPolicy((EgressRule(("0.0.0.0/0", "::/0")),))))
    fabric.guard((), (), by=made)
    pod, other = plug(A, 2, Guard(1)), plug(A, 3)
    pod.say(other.mac, f.ip4(pod.ip, other.ip, protocol, bytes(64)))
    pod.say(other.mac, f.ip6(pod.ip6, other.ip6, protocol, bytes(64)))
    mark = plug(A, 4).mark()
    assert not [frame for frame in other.before(mark) if frame.protocol == protocol]


def test_anothers_freedom_is_not_had_by_its_addresses(pod: Pod, plug: Plug, world: socket.socket) -> None:
    free = plug(A, 3)
    there = (OUTSIDE, world.getsockname()[1])
    lies = f.udp((free.ip, 4000), there, b"lie")
    pod.say(pod.router, lies)
    pod.say(pod.router, lies, source_mac=free.mac)
    pod.say(pod.router, f.udp((pod.ip, 4000), there, b"lie"), source_mac=free.mac)
    pod.say(pod.router, f.udp((pod.gateway, 4000), there, b"lie"))
    pod.say(pod.router, f.udp(("127.0.0.1", 4000), there, b"lie"))
    pod.say(pod.router, f.udp((pod.local, 4000), ("2001:db8::1", there[1]), b"lie"))
    pod.send(f.tagged(f.ethernet(pod.mac, pod.router, f.IP4, f.udp((pod.ip, 4000), there, b"lie"))))
    heard_last(pod, world)


@pytest.mark.parametrize("flags", [ACK, PSH | ACK, FIN | ACK, RST, SYN | ACK, FIN, 0, SYN | FIN])
def test_no_stream_begins_in_its_middle(pod: Pod, plug: Plug, flags: int) -> None:
    other = plug(A, 3)
    pod.say(other.mac, f.tcp((pod.ip, 80), (other.ip, 4000), flags, seq=1, ack=1))
    mark = plug(A, 4).mark()
    assert not [frame for frame in other.before(mark) if frame.protocol == f.TCP]


def test_an_error_about_nothing_reaches_nobody(pod: Pod, plug: Plug) -> None:
    """ICMP's errors belong to a connection, or are none."""
    other = plug(A, 3)
    about = f.udp((other.ip, 53), (pod.ip, 4000), b"a message in an error")[:64]
    body = struct.pack("!BBHI", 3, 3, 0, 0) + about
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    pod.say(other.mac, f.ip4(pod.ip, other.ip, f.ICMP, body))
    mark = plug(A, 4).mark()
    assert not [frame for frame in other.before(mark) if (frame.kind, frame.protocol) == (f.IP4, f.ICMP)]


def test_of_the_namespace_itself_it_reaches_what_all_do(pod: Pod, host: PrivateHost) -> None:
    """The gateway's echo and the name server; not the host, nor other ports."""
    pod.out(f.echo(pod.ip, pod.gateway))
    pod.hears(lambda frame: frame.protocol == f.ICMP and frame.payload[:1] == b"\0")
    pod.out(f.udp((pod.ip, 4000), (str(HOST.ip), 53), b"denied"))
    pod.hears(lambda frame: frame.protocol == f.ICMP and frame.payload[:2] == b"\x03\x0d")
    pod.drain()
    pod.out(f.syn((pod.ip, 4000), (RESOLVER, 54)))
    pod.out(f.syn((pod.ip, 4000), (pod.gateway, 22)))
    pod.out(f.echo(pod.ip, RESOLVER))
    first = pod.hears(lambda frame: frame.protocol in (f.TCP, f.ICMP))
    assert (first.protocol, first.source) == (f.ICMP, RESOLVER)
