"""Ports of the host that lead to pods': from the world, from the host itself, from pods; what is out of reach."""

from __future__ import annotations

import contextlib
import socket

import pytest

import frames_of_pods as f
from frames import ACK, SYN
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.netlink import NetlinkError
from led_ports import ANY, ANY6, DOOR, KINDS, LOOPBACK, PORT, UDP, answered, asking, local, own, published
from pod_by_hand import A, B, Plug
from private_host import HOST, HOST6, PrivateHost, said


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize(
    ("host_ip", "asked"),
    [
        (ANY, str(HOST.ip)),
        (str(HOST.ip), str(HOST.ip)),
        (ANY6, str(HOST6.ip)),
        (str(HOST6.ip), str(HOST6.ip)),
    ],
)
def test_the_world_comes_in_as_itself(
    host: PrivateHost, fabric: Fabric, plug: Plug, protocol: str, host_ip: str, asked: str
) -> None:
    pod = plug(A, 2)
    fabric.publish([published(pod, host_ip, protocol)])
    remote = host.remote(KINDS[protocol], version=6 if ":" in asked else 4)
    address = remote.getsockname()[:2]
    with asking(remote, (asked, DOOR)) as client:
        assert answered(pod, client).peer == address


def test_who_goes_on_sending_reaches_whom_the_port_leads_to_by_then(
    host: PrivateHost, fabric: Fabric, plug: Plug
) -> None:
    former, later = plug(A, 2), plug(A, 3)
    client = host.remote(UDP, version=4)
    with contextlib.closing(client):
        client.sendto(b"ask", (str(HOST.ip), DOOR))  # before there is anybody
        for pod in (former, later):
            fabric.publish([published(pod, ANY)])
            client.sendto(b"ask", (str(HOST.ip), DOOR))
            assert answered(pod, client).peer == client.getsockname()[:2]
            fabric.withdraw([published(pod, ANY)])


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize(
    ("host_ip", "asked"),
    [
        (LOOPBACK, LOOPBACK),
        (ANY, LOOPBACK),
        (ANY, "127.1.2.3"),
        (ANY, str(HOST.ip)),
        (ANY6, str(HOST6.ip)),
    ],
)
def test_the_host_itself_comes_in_by_an_address_that_can_be_answered(
    fabric: Fabric, plug: Plug, protocol: str, host_ip: str, asked: str
) -> None:
    pod = plug(A, 2)
    fabric.publish([published(pod, host_ip, protocol)])
    with asking(local(KINDS[protocol], asked), (asked, DOOR)) as client:
        assert not answered(pod, client).source.startswith("127.")


@pytest.mark.parametrize("version", [4, 6])
def test_from_elsewhere_a_pod_is_reached_by_its_published_port_alone(
    host: PrivateHost, fabric: Fabric, plug: Plug, version: int
) -> None:
    """Though its network is known there, and its address."""
    pod = plug(A, 2)
    any_, asked = (ANY, HOST) if version == 4 else (ANY6, HOST6)
    fabric.publish([published(pod, any_)])
    there = ("nsenter", "--net", "--target", str(host.world.pid), "ip", "route", "add")
    for network in (A.subnets[version == 6].subnet, "10.236.0.0/30"):
        if (":" in network) == (version == 6):
            said(*there, network, "via", str(asked.ip))
    with contextlib.closing(host.remote(UDP, version=version)) as remote:
        for port in (PORT, DOOR, 53):
            remote.sendto(b"no way", (own(pod, any_), port))
        remote.sendto(b"last", (str(asked.ip), DOOR))
        assert not [frame for frame in pod.before(b"last") if frame.protocol == f.UDP]


def test_a_port_of_one_address_is_none_of_the_others(host: PrivateHost, fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2)
    fabric.publish([published(pod, LOOPBACK), published(pod, str(HOST.ip), door=DOOR + 1)])
    with contextlib.closing(host.remote(UDP)) as remote:
        remote.sendto(b"no way", (str(HOST.ip), DOOR))
        remote.sendto(b"mark", (str(HOST.ip), DOOR + 1))
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"no way", (LOOPBACK, DOOR + 1))
        here.sendto(b"last", (LOOPBACK, DOOR))
    assert [frame.data for frame in pod.before(b"last") if frame.protocol == f.UDP] == [b"mark"]


@pytest.mark.parametrize("asked", [str(HOST.ip), str(HOST6.ip)])
@pytest.mark.parametrize("protocol", KINDS)
def test_a_pod_comes_in_by_the_hosts_address(fabric: Fabric, plug: Plug, protocol: str, asked: str) -> None:
    """To another's port, of its network or another, and to its own."""
    server, beside, apart = plug(A, 2), plug(A, 3), plug(B, 2)
    fabric.publish([published(server, ANY6 if ":" in asked else ANY, protocol)])
    for client in (beside, apart, server):
        source = (own(client, asked), 1234)
        if protocol == "udp":
            client.out(f.udp(source, (asked, DOOR), b"ask"))
        else:
            client.out(f.syn(source, (asked, DOOR)))
        heard = server.hears(
            lambda frame: frame.kind != f.ARP and frame.payload[2:4] == PORT.to_bytes(2, "big")
        )
        assert heard.source not in (source[0], own(server, asked))
        here = (own(server, asked), PORT)
        if protocol == "udp":
            server.out(f.udp(here, heard.peer, b"answer"))
            found = client.hears_udp(b"answer")
        else:
            server.out(f.tcp(here, heard.peer, SYN | ACK, seq=1, ack=1))
            found = client.hears(lambda frame: frame.protocol == f.TCP and frame.flags == SYN | ACK)
        assert (found.peer, found.target) == ((asked, DOOR), source[0])


def test_the_hosts_loopback_is_out_of_a_pods_reach(fabric: Fabric, plug: Plug) -> None:
    """127.0.0.0/8 altogether; published or not."""
    pod, other = plug(A, 2), plug(A, 3)
    fabric.publish([published(other, LOOPBACK), published(other, str(HOST.ip))])
    with local(UDP, LOOPBACK) as server, local(UDP, LOOPBACK) as everywhere:
        server.bind((LOOPBACK, 5353))
        everywhere.bind((ANY, 5354))
        for address in (LOOPBACK, "127.1.2.3"):
            for port in (DOOR, 5353, 5354):
                pod.out(f.udp((pod.ip, 1), (address, port), b"no way"))
        pod.out(f.udp((pod.ip, 1), (str(HOST.ip), DOOR), b"last"))
        assert not [frame for frame in other.before(b"last") if frame.protocol == f.UDP]
        pod.out(f.udp((pod.ip, 1), (str(HOST.ip), 5354), b"mark"))
        everywhere.settimeout(5)
        assert everywhere.recvfrom(100)[0] == b"mark"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recvfrom(100)


def test_a_route_of_the_pods_making_does_not_lead_to_the_loopback(host: PrivateHost, fabric: Fabric) -> None:
    """Whoever is in the namespace of networks, as a pod that has broken out of its rules would be."""
    with (
        contextlib.closing(
            fabric.namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        ) as raw,
        local(UDP, LOOPBACK) as server,
        local(UDP, ANY) as everywhere,
    ):
        server.bind((LOOPBACK, 5353))
        everywhere.bind((ANY, 5354))
        everywhere.settimeout(5)
        ours = link_address()
        with contextlib.suppress(OSError):
            raw.sendto(f.udp(("10.236.0.2", 1), (LOOPBACK, 5353), b"no way"), (ours, 0))
        raw.sendto(f.udp(("10.236.0.2", 1), (ours, 5354), b"mark"), (ours, 0))
        assert everywhere.recvfrom(100)[0] == b"mark"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recvfrom(100)


def link_address() -> str:
    return "10.236.0.1"


def test_all_or_none_are_published(fabric: Fabric, plug: Plug) -> None:
    one, other = plug(A, 2), plug(A, 3)
    fabric.publish([published(one, LOOPBACK)])
    fabric.publish([published(one, LOOPBACK)])  # as it is
    with pytest.raises(NetlinkError):
        fabric.publish([published(other, LOOPBACK, door=DOOR + 1), published(other, LOOPBACK)])
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"no way", (LOOPBACK, DOOR + 1))
        here.sendto(b"one", (LOOPBACK, DOOR))
    one.hears_udp(b"one")
    fabric.publish([published(other, LOOPBACK, door=DOOR + 2)])
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"last", (LOOPBACK, DOOR + 2))
    assert not [frame for frame in other.before(b"last") if frame.data == b"no way"]


def test_what_is_withdrawn_leads_nowhere_whatever_else_is_gone(fabric: Fabric, plug: Plug) -> None:
    pod, other = plug(A, 2), plug(A, 3)
    ports = [published(pod, host_ip, door=door) for host_ip in (ANY, LOOPBACK) for door in (1, 2, 3)]
    fabric.publish(ports)
    fabric.withdraw(ports[1:2])
    fabric.withdraw(ports)  # of which one is gone
    fabric.withdraw(ports)
    fabric.publish([published(other, ANY, door=1), published(pod, ANY, door=9)])
    fabric.withdraw([published(pod, ANY, door=1)])  # which is the other's
    with local(UDP, LOOPBACK) as here:
        for door in (2, 3):
            here.sendto(b"no way", (LOOPBACK, door))
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"theirs", (LOOPBACK, 1))
    other.hears_udp(b"theirs")
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"last", (LOOPBACK, 9))
    assert not [frame for frame in pod.before(b"last") if frame.protocol == f.UDP]


def test_an_established_connection_ends_with_its_port(fabric: Fabric, plug: Plug) -> None:
    """A new datagram of the same client goes nowhere once the pod is unplugged."""
    pod, other = plug(A, 2), plug(A, 3)
    fabric.publish([published(pod, LOOPBACK)])
    with asking(local(UDP, LOOPBACK), (LOOPBACK, DOOR)) as client:
        answered(pod, client)
        fabric.withdraw([published(pod, LOOPBACK)])
        fabric.unplug(pod.place)
        fabric.publish([published(other, LOOPBACK)])
        with local(UDP, LOOPBACK) as here:
            here.sendto(b"ask", (LOOPBACK, DOOR))
            assert other.hears_udp(b"ask").target == other.ip
