"""What a pod with a policy sends, honest and not: what no rule allows reaches nobody, on the bridge and beyond it."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator

import pytest

import frames_of_pods as f
from frames import ACK, RST, SYN
from frames_of_pods import Heard
from hypercontainer.contract.policies import EgressRule, NetworkPolicy
from hypercontainer.network import nflog
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.parts import Flow, Guard, Lead, Published
from hypercontainer.network.policy.compiling import Compiled
from hypercontainer.network.policy.deciding import decide
from hypercontainer.network.policy.kernel import PROXY_PORT
from hypercontainer.network.policy.language import meaning
from pod_by_hand import A, B, Plug, Pod
from private_host import HOST, WORLD, WORLD6, PrivateHost

OUTSIDE, OUTSIDE6 = str(WORLD.ip), str(WORLD6.ip)
DEADLINE_S = 5.0


def compiled(number: int, *rules: EgressRule) -> Compiled:
    return Compiled(number, meaning(NetworkPolicy(rules)))


def policed(fabric: Fabric, number: int, *rules: EgressRule) -> Guard:
    """Of pods that have a policy with these."""
    made = compiled(number, *rules)
    fabric.guard((), (), by=made)
    return Guard(number, made.meaning.proxied)


@pytest.fixture
def listener(host: PrivateHost) -> Iterator[tuple[socket.socket, int]]:
    """Of datagrams, in the world."""
    with host.remote(socket.SOCK_DGRAM) as made:
        yield made, made.getsockname()[1]


def refused(frame: Heard) -> bool:
    """By the gateway: "administratively prohibited" of either version of IP."""
    return (frame.protocol == f.ICMP and frame.payload[:2] == b"\x03\x0d") or (
        frame.protocol == f.ICMP6 and frame.payload[:2] == b"\x01\x01"
    )


def reset(frame: Heard) -> bool:
    return frame.protocol == f.TCP and bool(frame.flags & RST)


def test_out_goes_what_a_rule_allows(fabric: Fabric, plug: Plug, listener: tuple[socket.socket, int]) -> None:
    world, port = listener
    pod = plug(A, 2, policed(fabric, 1, EgressRule((f"{OUTSIDE}/32",), ports=(f"{port}/udp",))))
    pod.out(f.udp((pod.ip, 4000), (OUTSIDE, port), b"allowed"))
    assert world.recv(100) == b"allowed"
    pod.out(f.udp((pod.ip, 4000), (OUTSIDE, port + 1), b"another port"))
    pod.hears(refused)
    pod.out(f.udp((pod.ip, 4000), (str(HOST.ip), port), b"another address"))
    pod.hears(refused)
    pod.out(f.syn((pod.ip, 4000), (OUTSIDE, port)))
    pod.hears(reset)
    pod.out(f.echo(pod.ip, OUTSIDE))
    pod.hears(refused)
    pod.out(f.syn((pod.ip6, 4000), (OUTSIDE6, port)))
    pod.hears(reset)


@pytest.mark.parametrize("server", [OUTSIDE, OUTSIDE6])
@pytest.mark.parametrize("port", [53, 853])
def test_other_name_servers_are_out_of_reach(fabric: Fabric, plug: Plug, server: str, port: int) -> None:
    pod = plug(A, 2, policed(fabric, 1, EgressRule((f"{OUTSIDE}/32", f"{OUTSIDE6}/128"), ports=(443,))))
    source = pod.ip6 if ":" in server else pod.ip
    pod.out(f.udp((source, 4000), (server, port), b"a question"))
    pod.hears(refused)
    pod.out(f.syn((source, 4000), (server, port)))
    pod.hears(reset)


def test_within_a_network_as_well_whichever_mac_address_a_frame_has(fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2, policed(fabric, 1, EgressRule(("10.1.0.3",), ports=("7/udp",))))
    friend, other = plug(A, 3), plug(A, 4)
    for by in (friend.mac, pod.router):
        pod.say(by, f.udp((pod.ip, 9), (friend.ip, 7), b"allowed"))
        assert friend.hears_udp(b"allowed").from_mac == pod.router
    lies = [
        (other.mac, f.udp((pod.ip, 9), (other.ip, 7), b"denied")),
        (pod.router, f.udp((pod.ip, 9), (other.ip, 7), b"denied")),
        (friend.mac, f.udp((pod.ip, 9), (other.ip, 7), b"denied")),
        (other.mac, f.udp((pod.ip, 9), (friend.ip, 8), b"denied")),
        (other.mac, f.tcp((pod.ip, 9), (other.ip, 7), ACK, seq=1, ack=1)),
        (other.mac, f.udp((pod.ip6, 9), (other.ip6, 7), b"denied")),
        (other.mac, f.udp((pod.local, 9), (other.local, 7), b"denied")),
        (f.BROADCAST, f.udp((pod.ip, 9), ("255.255.255.255", 7), b"denied")),
        (f.BROADCAST, f.udp((pod.ip, 9), (other.ip, 7), b"denied")),
        ("01:00:5e:00:00:fb", f.udp((pod.ip, 9), ("224.0.0.251", 5353), b"denied")),
        (f.ALL_NODES_MAC, f.udp((pod.local, 9), (f.ALL_NODES, 7), b"denied")),
        ("ff:ff:ff:ff:ff:fe", f.udp((pod.ip, 9), (other.ip, 7), b"denied")),
    ]
    for each in (friend, other):
        each.drain()
    for by, packet in lies:
        pod.say(by, packet)
    pod.say(friend.mac, f.udp((pod.ip, 9), (friend.ip, 7), b"the last"))
    friend.hears_udp(b"the last")
    mark = friend.mark()
    for each in (other,):
        assert [
            frame for frame in each.before(mark) if frame.data == b"denied" or frame.protocol == f.TCP
        ] == []


def test_neighbours_are_found_all_the_same(fabric: Fabric, plug: Plug) -> None:
    pod, other = plug(A, 2, policed(fabric, 1)), plug(A, 3)
    pod.ask(other.ip)
    other.hears(lambda frame: (frame.kind, frame.protocol, frame.target) == (f.ARP, f.REQUEST, other.ip))
    pod.send(
        f.ethernet(
            pod.mac, f.group_mac(f"ff02::1:ff00:{3:x}"), f.IP6, f.solicited(pod.ip6, pod.mac, other.ip6)
        )
    )
    other.hears(lambda frame: frame.payload[:1] == bytes([f.NEIGHBOUR_SOLICITATION]))


def test_who_speaks_to_a_pod_is_answered(fabric: Fabric, plug: Plug) -> None:
    pod, other = plug(A, 2, policed(fabric, 1)), plug(A, 3)
    other.say(pod.mac, f.syn((other.ip, 4000), (pod.ip, 80)))
    pod.hears(lambda frame: frame.source == other.ip and frame.protocol == f.TCP)
    pod.say(other.mac, f.tcp((pod.ip, 80), (other.ip, 4000), SYN | ACK, seq=5, ack=1))
    other.hears(lambda frame: frame.protocol == f.TCP and frame.flags == SYN | ACK)
    other.say(pod.mac, f.udp((other.ip6, 4000), (pod.ip6, 80), b"hello"))
    pod.hears_udp(b"hello")
    pod.say(other.mac, f.udp((pod.ip6, 80), (other.ip6, 4000), b"yes"))
    other.hears_udp(b"yes")
    pod.say(other.mac, f.udp((pod.ip6, 80), (other.ip6, 4001), b"no"))
    pod.hears(refused)


def test_networks_stay_apart_whatever_a_policy_allows(fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2, policed(fabric, 1, EgressRule(("0.0.0.0/0",))))
    neighbour, other = plug(A, 3), plug(B, 2)
    for by in (pod.router, neighbour.mac):
        pod.say(by, f.udp((pod.ip, 9), (other.ip, 7), b"denied"))
    pod.say(neighbour.mac, f.udp((pod.ip, 9), (neighbour.ip, 7), b"the last"))
    neighbour.hears_udp(b"the last")
    assert not [frame for frame in other.before(other_mark(other, plug)) if frame.data == b"denied"]


def other_mark(pod: Pod, plug: Plug) -> bytes:
    return plug(B, 9).mark()


@pytest.mark.parametrize("named", [False, True])
def test_metadata_is_had_by_who_names_it(
    fabric: Fabric, plug: Plug, listener: tuple[socket.socket, int], named: bool
) -> None:
    rule = EgressRule(("169.254.169.254",) if named else ("0.0.0.0/0",))
    pod = plug(A, 2, policed(fabric, 1, rule))
    assert lets(pod, "169.254.169.254", 80) == named


def lets(pod: Pod, address: str, port: int, source: int = 4001) -> bool:
    """Whether the namespace refuses a first packet itself.  What is let out is not answered: an echo to the gateway,
    which comes later, is."""
    pod.drain()
    pod.out(f.udp((pod.ip, source), (address, port), b"?"))
    pod.out(f.echo(pod.ip, pod.gateway))
    return not refused(
        pod.hears(lambda frame: frame.protocol == f.ICMP and (refused(frame) or frame.payload[:1] == b"\0"))
    )


def test_where_a_name_has_led_is_open_for_a_while(fabric: Fabric, plug: Plug) -> None:
    made = compiled(1, EgressRule(("api.example.com",), ports=("443/udp",)))
    fabric.guard((), (), by=made)
    pod, other = plug(A, 2, Guard(1)), plug(A, 3, Guard(1))
    target = ipaddress.ip_address("20.0.0.1")
    gates, _ = made.gates_of("api.example.com", target, ())
    naming = fabric.naming()
    try:
        leads = [Lead(gate, ipaddress.ip_address(pod.ip), target) for gate in gates]
        assert not lets(pod, "20.0.0.1", 443)
        naming.lead(leads, 0.001)
        naming.lead(leads, 60)
        assert lets(pod, "20.0.0.1", 443)
        assert not lets(pod, "20.0.0.1", 444)
        assert not lets(pod, "20.0.0.2", 443)
        assert not lets(other, "20.0.0.1", 443)  # by another's answer
        naming.lead([Lead(gates[0], ipaddress.ip_address(other.ip), target)], 0.2)
        assert lets(other, "20.0.0.1", 443)
        end = time.monotonic() + DEADLINE_S
        port = 5000
        while lets(other, "20.0.0.1", 443, port):  # each is new: what is open goes on
            port += 1
            assert time.monotonic() < end
        naming.forget(leads)
        assert not lets(pod, "20.0.0.1", 443, 4002)
        naming.forget(leads)
    finally:
        naming.close()


def test_what_is_not_allowed_any_more_is_cut_and_stays_cut(
    fabric: Fabric, plug: Plug, listener: tuple[socket.socket, int]
) -> None:
    world, port = listener
    before = compiled(1, EgressRule(("0.0.0.0/0",)))
    after = compiled(2, EgressRule((OUTSIDE,), ports=(f"{port + 1}/udp",)))
    fabric.guard((), (), by=before)
    pod = plug(A, 2, Guard(1))
    pod.out(f.udp((pod.ip, 4000), (OUTSIDE, port), b"before"))
    data, client = world.recvfrom(100)
    assert data == b"before"
    world.sendto(b"answer", client)
    pod.hears_udp(b"answer")
    place = pod.place
    now = type(place)(place.tap, place.bridge, place.mac, place.addresses, Guard(2))
    fabric.guard([place], [now], without=before, by=after)

    def goes_on(flow: Flow) -> bool:
        return decide(after.meaning, flow.protocol, flow.port, flow.target).allowed

    assert fabric.cut([pod.ip, pod.ip6], goes_on) == 1
    pod.out(f.udp((pod.ip, 4000), (OUTSIDE, port), b"after"))
    pod.hears(refused)
    world.sendto(b"come back", client)  # the host knows the way still, and the namespace has no door for it
    pod.out(f.udp((pod.ip, 4000), (OUTSIDE, port), b"after"))
    pod.hears(refused)
    world.settimeout(0)
    with pytest.raises(BlockingIOError):
        world.recv(100)


def test_a_stream_that_was_cut_does_not_go_on(fabric: Fabric, plug: Plug, host: PrivateHost) -> None:
    before, after = compiled(1, EgressRule((OUTSIDE,))), compiled(2)
    fabric.guard((), (), by=before)
    pod = plug(A, 2, Guard(1))
    with host.remote(socket.SOCK_STREAM) as server:
        server.listen()
        port = server.getsockname()[1]
        pod.out(f.syn((pod.ip, 4000), (OUTSIDE, port)))
        answer = pod.hears(lambda frame: frame.protocol == f.TCP)
        seq = int.from_bytes(answer.payload[4:8], "big") + 1
        pod.out(f.tcp((pod.ip, 4000), (OUTSIDE, port), ACK, seq=1, ack=seq))
        peer, _ = server.accept()
        with peer:
            place = pod.place
            now = type(place)(place.tap, place.bridge, place.mac, place.addresses, Guard(2))
            fabric.guard([place], [now], without=before, by=after)
            assert fabric.cut([pod.ip], lambda flow: False) == 1
            peer.sendall(b"something")
            pod.out(f.tcp((pod.ip, 4000), (OUTSIDE, port), ACK, seq=1, ack=seq))
            pod.hears(reset)
            pod.out(f.tcp((pod.ip, 4000), (OUTSIDE, port), ACK, seq=1, ack=seq + 9))
            pod.hears(reset)


def test_published_ports_are_answered(fabric: Fabric, plug: Plug, host: PrivateHost) -> None:
    pod = plug(A, 2, policed(fabric, 1))
    ports = [Published(protocol, "0.0.0.0", 8080, pod.ip, 80) for protocol in ("tcp", "udp")]
    fabric.publish(ports)
    with host.remote(socket.SOCK_DGRAM) as client:
        client.sendto(b"question", (str(HOST.ip), 8080))
        asked = pod.hears_udp(b"question")
        pod.out(f.udp((pod.ip, 80), asked.peer, b"answer"))
        assert client.recv(100) == b"answer"
    with host.remote(socket.SOCK_STREAM) as client:
        client.setblocking(False)
        client.connect_ex((str(HOST.ip), 8080))
        asked = pod.hears(lambda frame: frame.protocol == f.TCP)
        seq = int.from_bytes(asked.payload[4:8], "big") + 1
        pod.out(f.tcp((pod.ip, 80), asked.peer, SYN | ACK, seq=9, ack=seq))
        pod.hears(lambda frame: frame.protocol == f.TCP and frame.flags == ACK)
    fabric.withdraw(ports)


def test_http_is_led_to_the_proxy_and_nobody_else_gets_there(fabric: Fabric, plug: Plug) -> None:
    guard = policed(
        fabric, 1, EgressRule(http=("api.example.com",)), EgressRule(("20.0.0.0/8",), ports=(80,))
    )
    assert guard.proxied
    pod = plug(A, 2, guard)
    with fabric.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as proxy:
        proxy.bind(("0.0.0.0", PROXY_PORT))
        proxy.listen()
        for port in (80, 443):
            pod.out(f.syn((pod.ip, 4000), ("30.0.0.1", port)))
            assert pod.hears(lambda frame: frame.protocol == f.TCP).flags == SYN | ACK
        pod.out(f.syn((pod.ip, 4000), ("30.0.0.1", 81)))
        pod.hears(reset)
        pod.drain()
        pod.out(f.syn((pod.ip, 4001), (pod.gateway, PROXY_PORT)))  # dropped
        pod.out(f.syn((pod.ip, 4002), ("20.0.0.1", 80)))  # its own way
        pod.out(f.echo(pod.ip, pod.gateway))
        assert pod.hears(lambda frame: frame.protocol in (f.TCP, f.ICMP)).protocol == f.ICMP


def test_connections_are_counted(fabric: Fabric, plug: Plug) -> None:
    pod, other = plug(A, 2, Guard(connections=4)), plug(A, 3)  # three, and the echo to the gateway
    found = [lets(pod, OUTSIDE, 9, 6000 + each) for each in range(5)]
    assert found == [True, True, True, False, False]
    assert lets(other, OUTSIDE, 9, 6000)


def test_what_is_denied_is_told_as_much_as_is_good(fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2, policed(fabric, 1))
    log = fabric.denials()
    try:
        log.settimeout(DEADLINE_S)
        for port in range(1, 301):
            pod.out(f.udp((pod.ip, 9), (OUTSIDE, port), b"x"))
        pod.out(f.syn((pod.ip6, 9), (OUTSIDE6, 443)))
        found: list[nflog.Told] = []
        while not any(each.port == 443 for each in found):
            found += nflog.told(log.recv(nflog.RECEIVE_BYTES))
        assert found[0] == nflog.Told(
            "policy", ipaddress.ip_address(pod.ip), ipaddress.ip_address(OUTSIDE), f.UDP, 1
        )
        assert found[-1].protocol == f.TCP and str(found[-1].target) == OUTSIDE6
        assert 50 < len(found) < 200
    finally:
        log.close()


def test_what_is_sent_too_fast_is_lost(
    fabric: Fabric, plug: Plug, listener: tuple[socket.socket, int]
) -> None:
    world, port = listener
    pod = plug(A, 2, Guard(out_rate=100_000))
    for _ in range(600):
        pod.out(f.udp((pod.ip, 9), (OUTSIDE, port), bytes(1200)))
    settled(pod)
    world.setblocking(False)
    came = 0
    try:
        while True:
            came += len(world.recv(2000))
    except BlockingIOError:
        pass
    assert 0 < came <= 400_000


def settled(pod: Pod) -> None:
    """The bucket has room again for one, and what was before it has been dealt with."""
    end = time.monotonic() + DEADLINE_S
    while True:
        pod.out(f.echo(pod.ip, pod.gateway))
        pod.ask(pod.gateway)
        if pod.hears(lambda frame: frame.protocol in (f.ICMP, f.REPLY)).protocol:
            return
        assert time.monotonic() < end
