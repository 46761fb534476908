"""Services in the kernel: who asks for one comes to a pod behind it, and to nobody where there is none."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

import frames_of_pods as f
from frames import ACK, RST, SYN
from frames_of_pods import Heard
from hypercontainer.contract.networks import Subnet
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.parts import Served
from pod_by_hand import INTERNAL, A, B, Plug, Pod
from private_host import PrivateHost

SUBNET, ADDRESS = Subnet("10.9.0.0/24"), "10.9.0.7"
ASKED, PORT, CLIENT = 80, 8080, 5000


@pytest.fixture
def serving(fabric: Fabric) -> Iterator[Fabric]:
    fabric.lead(SUBNET)
    yield fabric
    fabric.lead(SUBNET, gone=True)


def service(*pods: Pod, protocol: str = "tcp", sticky: bool = False) -> Served:
    return Served(protocol, ADDRESS, ASKED, tuple((pod.ip, PORT) for pod in pods), sticky)


def asks(pod: Pod, client: int = CLIENT) -> None:
    pod.out(f.tcp((pod.ip, client), (ADDRESS, ASKED), SYN, seq=1))


def arrives(pod: Pod) -> Heard:
    return pod.hears(
        lambda frame: frame.protocol == f.TCP and frame.ports[1] == PORT and bool(frame.flags & SYN)
    )


def refused(pod: Pod) -> Heard:
    heard = pod.hears(lambda frame: frame.protocol == f.TCP and frame.source == ADDRESS)
    assert heard.flags & RST
    return heard


def test_a_pod_asks_one_of_its_own_network(serving: Fabric, plug: Plug) -> None:
    client, server = plug(A, 2), plug(A, 3)
    serving.serve((), [service(server)])
    asks(client)
    heard = arrives(server)
    assert (heard.source, heard.target) == (
        server.gateway,
        server.ip,
    )  # else it would answer past the service
    server.out(f.tcp((server.ip, PORT), heard.peer, SYN | ACK, seq=1, ack=heard.seq + 1))
    answer = client.hears(lambda frame: frame.protocol == f.TCP and frame.source == ADDRESS)
    assert (answer.ports, answer.flags) == ((ASKED, CLIENT), SYN | ACK)


def test_datagrams_too(serving: Fabric, plug: Plug) -> None:
    client, server, other = plug(A, 2), plug(A, 3), plug(A, 4)
    first, second = service(server, protocol="udp"), service(other, protocol="udp")
    serving.serve((), [first])
    client.out(f.udp((client.ip, CLIENT), (ADDRESS, ASKED), b"one"))
    heard = server.hears_udp(b"one")
    server.out(f.udp((server.ip, PORT), heard.peer, b"answer"))
    assert client.hears_udp(b"answer").source == ADDRESS
    serving.serve([first], [second])  # who goes on with one that is no more is not heard by anybody
    client.out(f.udp((client.ip, CLIENT), (ADDRESS, ASKED), b"two"))
    assert other.hears_udp(b"two").target == other.ip


def test_the_host_asks_and_is_seen_as_itself(host: PrivateHost, serving: Fabric, plug: Plug) -> None:
    server = plug(A, 3)
    serving.serve((), [service(server)])
    with contextlib.closing(socket.socket()) as client:
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect((ADDRESS, ASKED))
        heard = arrives(server)
        assert heard.source == client.getsockname()[0]
        server.out(f.tcp((server.ip, PORT), heard.peer, SYN | ACK, seq=1, ack=heard.seq + 1))
        server.hears(lambda frame: frame.protocol == f.TCP and frame.flags == ACK)
        assert client.getpeername() == (ADDRESS, ASKED)


def test_nobody_behind_it_is_said_at_once(serving: Fabric, plug: Plug) -> None:
    client, server = plug(A, 2), plug(A, 3)
    asks(client)
    refused(client)
    client.out(f.udp((client.ip, CLIENT), (ADDRESS, ASKED), b"one"))
    client.hears(lambda frame: frame.protocol == f.ICMP and frame.payload[:2] == b"\x03\x03")
    serving.serve((), [service(server)])
    asks(client, CLIENT + 1)
    arrives(server)
    serving.serve([service(server)], [])
    asks(client, CLIENT + 2)
    refused(client)
    with contextlib.closing(socket.socket()) as from_the_host:
        from_the_host.settimeout(5)
        with pytest.raises(ConnectionRefusedError):
            from_the_host.connect((ADDRESS, ASKED))


def test_another_network_does_not_come_to_its_pods(serving: Fabric, plug: Plug) -> None:
    stranger, server, inner = plug(B, 2), plug(A, 3), plug(INTERNAL, 2)
    serving.serve((), [service(server)])
    for number, each in enumerate((stranger, inner, plug(A, 4))):
        asks(each, CLIENT + number)
    assert arrives(server).ports[0] == CLIENT + 2  # of who may


def test_an_internal_network_has_its_own(serving: Fabric, plug: Plug) -> None:
    client, server = plug(INTERNAL, 2), plug(INTERNAL, 3)
    serving.serve((), [service(server)])
    asks(client)
    assert arrives(server).target == server.ip


def test_all_have_their_share_and_one_client_is_always_sent_to_one(serving: Fabric, plug: Plug) -> None:
    client, servers = plug(A, 2), [plug(A, 3), plug(A, 4)]
    shared, sticky = service(*servers), service(*servers, sticky=True)
    serving.serve((), [shared])
    for number in range(40):
        asks(client, CLIENT + number)
    for server in servers:
        arrives(server)
    serving.serve([shared], [sticky])
    for server in servers:
        server.drain()
    for number in range(40, 60):
        asks(client, CLIENT + number)
    came = []
    for server in servers:
        data = client.mark()
        came.append(sum(frame.protocol == f.TCP and bool(frame.flags & SYN) for frame in server.before(data)))
    assert sorted(came) == [0, 20]


def test_a_stream_to_a_pod_that_has_gone_ends(serving: Fabric, plug: Plug) -> None:
    client, gone, other = plug(A, 2), plug(A, 3), plug(A, 4)
    first, second = service(gone), service(other)
    serving.serve((), [first])
    asks(client)
    heard = arrives(gone)
    gone.out(f.tcp((gone.ip, PORT), heard.peer, SYN | ACK, seq=1, ack=heard.seq + 1))
    client.hears(lambda frame: frame.protocol == f.TCP and frame.flags == SYN | ACK)
    serving.serve([first], [second])
    more = f.tcp((client.ip, CLIENT), (ADDRESS, ASKED), ACK, seq=2, ack=2)
    client.out(more)
    gone.hears(lambda frame: frame.protocol == f.TCP and frame.flags == ACK)  # it is its own still
    serving.leave([first], {gone.ip})
    client.out(more)
    refused(client)  # the gateway knows nothing of it any more, and leads no stream that begins in its middle


def test_the_next_hyperd_finds_them_as_they_are(serving: Fabric, plug: Plug) -> None:
    client, server = plug(A, 2), plug(A, 3)
    there = [service(server)]
    serving.open((A, B, INTERNAL), (client.place, server.place), (), SUBNET, there)
    asks(client)
    arrives(server)
    serving.serve(there, [])
    asks(client, CLIENT + 1)
    refused(client)


def test_what_is_one_pods_own_is_found_by_nobody_else(serving: Fabric, plug: Plug) -> None:
    owner, other, server = plug(A, 2), plug(A, 3), plug(A, 4)
    own = Served("tcp", "10.254.0.1", ASKED, ((server.ip, PORT),), client=owner.ip)
    serving.serve((), [own])
    for number, each in enumerate((other, owner)):
        each.out(f.tcp((each.ip, CLIENT + number), ("10.254.0.1", ASKED), SYN, seq=1))
    assert arrives(server).ports[0] == CLIENT + 1
    serving.serve([own], [])
