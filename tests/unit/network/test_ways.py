"""Who reaches whom: pods of a network each other and their gateway, the way out, and what is no way."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

import frames_of_pods as f
from frames import ACK, SYN
from hypercontainer.network import links
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.parts import RESOLVER
from pod_by_hand import INTERNAL, A, B, Plug, Pod
from private_host import HOST, HOST6, WORLD, WORLD6, PrivateHost, netlink, said

METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
PORT = 7000
FORWARDING = ("iptables-nft", "ip6tables-nft")


def test_pods_of_a_network_find_each_other(plug: Plug) -> None:
    one, other = plug(A, 2), plug(A, 3)
    one.ask(other.ip)
    other.hears(lambda frame: (frame.kind, frame.source) == (f.ARP, one.ip))
    found = one.hears(lambda frame: frame.kind == f.ARP and frame.protocol == f.REPLY)
    assert (found.source, found.from_mac) == (other.ip, other.mac)
    for source, target in ((one.ip, other.ip), (one.ip6, other.ip6), (one.local, other.local)):
        one.say(other.mac, f.udp((source, 1), (target, 2), b"hello"))
        heard = other.hears_udp(b"hello")
        assert (heard.source, heard.target, heard.from_mac) == (source, target, one.mac)


def test_neighbours_of_ipv6_find_each_other(plug: Plug) -> None:
    one, other = plug(A, 2), plug(A, 3)
    for own, wanted in ((one.ip6, other.ip6), (one.local, other.local)):
        group = f.group_mac(f"ff02::1:ff00:{int.from_bytes(f.packed(wanted)[-2:], 'big'):x}")
        one.say(group, f.solicited(own, one.mac, wanted))
        other.hears_from(own)
        found = one.hears(lambda frame: frame.payload[:1] == bytes([f.NEIGHBOUR_ADVERTISEMENT]))
        assert (found.source, found.from_mac, found.payload[8:24]) == (wanted, other.mac, f.packed(wanted))


def test_the_gateway_answers(plug: Plug) -> None:
    pod = plug(A, 2)
    pod.ask(pod.gateway)
    found = pod.hears(lambda frame: frame.kind == f.ARP and frame.protocol == f.REPLY)
    assert (found.source, found.from_mac) == (pod.gateway, A.mac)
    pod.out(f.echo(pod.ip, pod.gateway))
    pod.hears(lambda frame: (frame.kind, frame.protocol, frame.source) == (f.IP4, f.ICMP, pod.gateway))
    pod.out(f.echo(pod.ip6, pod.gateway6))
    pod.hears(lambda frame: frame.source == pod.gateway6 and frame.payload[:1] == bytes([f.ECHO_REPLY6]))


@pytest.mark.parametrize("version", [4, 6])
def test_the_way_out_and_back(host: PrivateHost, plug: Plug, version: int) -> None:
    pod = plug(A, 2)
    own = pod.ip if version == 4 else pod.ip6
    with contextlib.closing(host.remote(socket.SOCK_DGRAM, version=version)) as remote:
        address = remote.getsockname()[:2]
        pod.out(f.udp((own, PORT), address, b"ping"))
        data, sender = remote.recvfrom(100)
        assert (data, sender[0]) == (b"ping", str((HOST if version == 4 else HOST6).ip))
        remote.sendto(b"pong", sender[:2])
        heard = pod.hears_udp(b"pong")
        assert (heard.peer, heard.target, heard.from_mac) == (address, own, A.mac)


@pytest.mark.parametrize("version", [4, 6])
def test_the_host_reaches_pods_of_every_network(fabric: Fabric, plug: Plug, version: int) -> None:
    for bridge in (A, B, INTERNAL):
        pod = plug(bridge, 2)
        own = pod.ip if version == 4 else pod.ip6
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as here:
            here.sendto(b"hello", (own, PORT))
            heard = pod.hears_udp(b"hello")
            pod.out(f.udp((own, PORT), heard.peer, b"answer"))
            here.settimeout(5)
            assert here.recvfrom(100)[0] == b"answer"


def refused(pod: Pod, witness: Pod, *packets: bytes) -> None:
    """None of them reaches the witness; what the pod may send does reach the world, by the same way."""
    for packet in packets:
        pod.out(packet)
    pod.out(f.echo(pod.ip, pod.gateway))
    pod.hears(lambda frame: (frame.kind, frame.protocol) == (f.IP4, f.ICMP))
    found = witness.before(witness_mark(witness))
    assert not [frame for frame in found if frame.data == b"no way"]


def witness_mark(witness: Pod) -> bytes:
    """Sends itself a datagram by the host's socket, since no pod of its network may be there."""
    data = os.urandom(8)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.sendto(data, (witness.ip, PORT))
    return data


def test_networks_are_apart(plug: Plug) -> None:
    one, other = plug(A, 2), plug(B, 2)
    refused(
        one,
        other,
        f.udp((one.ip, 1), (other.ip, PORT), b"no way"),
        f.udp((one.ip6, 1), (other.ip6, PORT), b"no way"),
        f.udp((one.ip, 1), ("10.2.0.255", PORT), b"no way"),
        f.echo(one.ip, other.ip),
    )
    refused(other, one, f.udp((other.ip, 1), (one.ip, PORT), b"no way"))


def test_a_network_is_not_reached_by_the_gateway_of_another(plug: Plug) -> None:
    """Of whose MAC address a pod may know, and that is on no bridge but its own."""
    one, other = plug(A, 2), plug(B, 2)
    one.say(other.router, f.udp((one.ip, 1), (other.ip, PORT), b"no way"))
    one.say(other.mac, f.udp((one.ip, 1), (other.ip, PORT), b"no way"))
    refused(one, other)


@pytest.mark.parametrize("version", [4, 6])
def test_an_internal_network_has_no_way_out(host: PrivateHost, plug: Plug, version: int) -> None:
    inside, outside = plug(INTERNAL, 2), plug(A, 2)
    own, free = (inside.ip, outside.ip) if version == 4 else (inside.ip6, outside.ip6)
    with contextlib.closing(host.remote(socket.SOCK_DGRAM, version=version)) as remote:
        address = remote.getsockname()[:2]
        inside.out(f.udp((own, PORT), address, b"no way"))
        inside.out(f.echo(inside.ip, inside.gateway))
        inside.hears(lambda frame: (frame.kind, frame.protocol) == (f.IP4, f.ICMP))
        outside.out(f.udp((free, PORT), address, b"mark"))
        assert remote.recvfrom(100)[0] == b"mark"


@pytest.mark.parametrize("address", [METADATA, METADATA6])
def test_nobody_asks_a_cloud_about_its_machine(host: PrivateHost, plug: Plug, address: str) -> None:
    pod = plug(A, 2)
    version, far = (6, WORLD6) if ":" in address else (4, WORLD)
    own = pod.ip6 if version == 6 else pod.ip
    with netlink(namespace=host.world) as route, contextlib.closing(probe(host)) as sock:
        index = links.index(sock, "world0")
        route.do("metadata", [links.address(index, type(far)(f"{address}/{far.max_prefixlen}"))])
    with contextlib.closing(host.world.socket(far_family(version), socket.SOCK_DGRAM)) as remote:
        remote.bind(("::" if version == 6 else "0.0.0.0", 80))
        remote.settimeout(5)
        pod.out(f.udp((own, PORT), (address, 80), b"no way"))
        pod.out(f.udp((own, PORT), (str(far.ip), 80), b"mark"))
        assert remote.recvfrom(100)[0] == b"mark"


def far_family(version: int) -> socket.AddressFamily:
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def probe(host: PrivateHost) -> socket.socket:
    return host.world.socket(socket.AF_INET, socket.SOCK_DGRAM)


def test_of_the_namespace_itself_pods_have_names_and_nothing_else(fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2)
    space = fabric.namespace
    with contextlib.ExitStack() as undo:
        doors = {}
        for port in (53, 54):
            doors[port] = undo.enter_context(
                contextlib.closing(space.socket(socket.AF_INET, socket.SOCK_DGRAM))
            )
            doors[port].bind(("0.0.0.0", port))
            doors[port].settimeout(5)
        pod.out(f.udp((pod.ip, 1), (pod.gateway, 54), b"no way"))
        pod.out(f.udp((pod.ip, 1), (pod.gateway, 53), b"a name"))
        assert doors[53].recvfrom(100) == (b"a name", (pod.ip, 1))
        doors[54].setblocking(False)
        with pytest.raises(BlockingIOError):
            doors[54].recvfrom(100)


def test_pods_of_every_network_ask_for_names_at_one_address(fabric: Fabric, plug: Plug) -> None:
    """By UDP and TCP, and at that address at nothing else."""
    asked, door = fabric.listeners()
    with asked, door:
        for bridge in (A, INTERNAL):
            pod = plug(bridge, 2)
            pod.out(f.udp((pod.ip, 1), (RESOLVER, 54), b"no way"))
            pod.out(f.udp((pod.ip, 1), (RESOLVER, 53), b"a name"))
            assert asked.recvfrom(100) == (b"a name", (pod.ip, 1))
            pod.out(f.syn((pod.ip, 2), (RESOLVER, 54)))
            pod.out(f.syn((pod.ip, 1), (RESOLVER, 53)))
            answer = pod.hears(lambda frame: frame.kind == f.IP4 and frame.protocol == f.TCP)
            assert (answer.peer, answer.flags) == ((RESOLVER, 53), SYN | ACK)


def test_who_was_unplugged_speaks_to_nobody_and_hears_nothing(fabric: Fabric, plug: Plug) -> None:
    pod, other, third = plug(A, 2), plug(A, 3), plug(A, 4)
    fabric.unplug(pod.place)
    fabric.unplug(pod.place)  # nothing happens
    with pytest.raises(OSError, match="Input/output error"):
        pod.send(f.ethernet(pod.mac, other.mac, f.IP4, f.udp((pod.ip, 1), (other.ip, 2), b"no way")))
    mark = third.mark()
    assert not [frame for frame in other.before(mark) if frame.data == b"no way"]
    fabric.plug(pod.place)  # and is plugged in again
    pod.drain()
    pod.say(other.mac, f.udp((pod.ip, 1), (other.ip, 2), b"back"))
    other.hears_udp(b"back")


def test_a_pod_whose_bridge_is_gone_has_no_way_around_the_rules(
    host: PrivateHost, fabric: Fabric, plug: Plug
) -> None:
    """Its tap device is there, is up, and is on no bridge."""
    pod, honest = plug(B, 2), plug(A, 2)
    fabric.open((A,), (honest.place,), ())
    with contextlib.closing(fabric.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        index = links.index(sock, pod.place.tap)
    with netlink(namespace=fabric.namespace) as route:
        (mac,) = (each.get_attr("IFLA_ADDRESS") for each in links.links(route) if each["index"] == index)
    with contextlib.closing(host.remote(socket.SOCK_DGRAM)) as remote:
        address = remote.getsockname()
        for source in (pod.ip, honest.ip):
            with contextlib.suppress(OSError):
                pod.say(mac, f.udp((source, 1), address, b"no way"))
        honest.out(f.udp((honest.ip, PORT), address, b"mark"))
        assert remote.recvfrom(100)[0] == b"mark"


def bridge_beside(host: PrivateHost, name: str, address: str) -> None:
    """Somebody else's network on the host, with the world in it."""
    world = str(host.world.pid)
    said("ip", "link", "add", name, "type", "bridge")
    said("ip", "address", "add", f"{address}.1/24", "dev", name)
    said("ip", "link", "set", name, "up")
    said("ip", "link", "add", "beside0", "type", "veth", "peer", "name", "beside1", "netns", world)
    said("ip", "link", "set", "beside0", "master", name, "up")
    for words in (f"address add {address}.2/24 dev beside1", "link set beside1 up"):
        said("nsenter", "--net", "--target", world, "ip", *words.split())


def test_another_s_network_on_the_host_is_reached_by_its_published_ports_alone(
    host: PrivateHost, fabric: Fabric, plug: Plug
) -> None:
    """As docker's are, whose bridges hold containers that have published nothing."""
    bridge_beside(host, "other0", "10.99.0")
    said("nft", "add table ip others; add chain ip others pre { type nat hook prerouting priority -100; }")
    said("nft", f"add rule ip others pre ip daddr {HOST.ip} udp dport 9090 dnat to 10.99.0.2:90")
    pod = plug(A, 2)
    fabric.open((A,), (pod.place,), ())
    with contextlib.closing(host.world.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("10.99.0.2", 90))
        other.settimeout(5)
        pod.out(f.udp((pod.ip, 1), ("10.99.0.2", 90), b"no way"))
        pod.out(f.udp((pod.ip, 1), (str(HOST.ip), 9090), b"a port"))
        data, sender = other.recvfrom(100)
        assert data == b"a port"
        other.sendto(b"answer", sender)
        assert pod.hears_udp(b"answer").peer == (str(HOST.ip), 9090)
    said("ip", "link", "del", "other0")
    said("ip", "link", "del", "beside0")
    said("nft", "delete", "table", "ip", "others")


def test_a_way_out_that_is_a_bridge_is_one(host: PrivateHost, fabric: Fabric, plug: Plug) -> None:
    bridge_beside(host, "br0", "10.99.0")
    said("ip", "route", "replace", "default", "via", "10.99.0.2", "dev", "br0")
    pod = plug(A, 2)
    fabric.open((A,), (pod.place,), ())
    with contextlib.closing(host.world.socket(socket.AF_INET, socket.SOCK_DGRAM)) as remote:
        remote.bind(("10.99.0.2", 90))
        remote.settimeout(5)
        pod.out(f.udp((pod.ip, 1), ("10.99.0.2", 90), b"out"))
        assert remote.recvfrom(100)[0] == b"out"
    said("ip", "route", "replace", "default", "via", str(WORLD.ip), "dev", "eth0")
    said("ip", "link", "del", "br0")
    said("ip", "link", "del", "beside0")


def test_a_host_that_drops_what_it_does_not_know_lets_pods_through(
    host: PrivateHost, fabric: Fabric, plug: Plug
) -> None:
    """As dockerd's does, and as iptables shows it afterwards."""
    for program in FORWARDING:
        said(program, "-P", "FORWARD", "DROP")
    pod = plug(A, 2)
    fabric.open((A,), (pod.place,), ())
    for own, version in ((pod.ip, 4), (pod.ip6, 6)):
        with contextlib.closing(host.remote(socket.SOCK_DGRAM, version=version)) as remote:
            pod.out(f.udp((own, PORT), remote.getsockname()[:2], b"ping"))
            data, sender = remote.recvfrom(100)
            remote.sendto(b"pong", sender[:2])
            assert (data, pod.hears_udp(b"pong").target) == (b"ping", own)
    for program in FORWARDING:
        first, *rules = said(program, "-S", "FORWARD").splitlines()
        assert first == "-P FORWARD DROP"
        assert sorted(rule.split()[2] for rule in rules) == ["-i", "-o"]
    fabric.dissolve()
    for program in FORWARDING:
        assert said(program, "-S", "FORWARD") == "-P FORWARD DROP\n"
    for family in ("ip", "ip6"):
        said("nft", "delete", "table", family, "filter")
