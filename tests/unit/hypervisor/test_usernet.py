"""The network of a NIC, with a guest that speaks Ethernet by hand: whom it reaches, who reaches it, what cannot end it.

What must not arrive is looked for after the answer to a later frame: frames are taken in turn, and the host's loopback
delivers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from pathlib import Path

import pytest

from frames import ACK, DNS, GATEWAY, GUEST, PSH, RST, SYN, TCP, UDP, arp, echo, ipv4, tcp, udp, udp_packet
from free_port import free_port
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, NotFound, Unavailable
from hypercontainer.hypervisor import usernet
from hypercontainer.linux import unix
from usernet_guest import DEADLINE_S, LOOPBACK, Network, asked, asker, bound, forwarded, quiet, running

QUESTION = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"

# ---------------------------------------------------------------------------------------------- the guest's side


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_it_answers_for_the_gateway_and_ends_with_its_guest(tmp_path: Path, kind: int) -> None:
    with running(tmp_path, kind=kind) as network:
        for address in (GATEWAY, DNS):
            network.send(arp(1, address))
            answer = network.frame()
            assert answer[12:14] == b"\x08\x06"
            assert answer[20:22] == b"\0\2"
            assert socket.inet_ntoa(answer[28:32]) == address
        network.send(arp(1, "10.0.2.7"))
        network.send(arp(1, GATEWAY, sender="10.0.2.16"))
        assert network.settle() == []


def test_the_hosts_loopback_is_out_of_reach(network: Network) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener, bound(LOOPBACK) as server:
        addresses = (GATEWAY, DNS, LOOPBACK, "127.0.0.2", "0.0.0.0", "10.0.2.255", "255.255.255.255", GUEST)
        for number, address in enumerate(addresses):
            network.send(tcp(4000 + number, (address, listener.getsockname()[1]), SYN))
            network.send(tcp(4100 + number, (address, listener.getsockname()[1]), SYN | PSH))
            network.send(udp(4000 + number, (address, server.getsockname()[1]), b"hello"))
            if address not in (GATEWAY, DNS):
                network.send(echo(address))
        answers = network.settle()
        assert quiet(listener)
        assert quiet(server)
    assert {(one.source, one.flags) for one in answers} == {(GATEWAY, RST | ACK), (DNS, RST | ACK)}


def test_but_for_the_ports_that_are_offered(tmp_path: Path) -> None:
    """As they are when somebody asks."""
    offers = tmp_path / "ports"
    with (
        running(tmp_path, f"offers={offers}") as network,
        socket.create_server((LOOPBACK, 0)) as listener,
        socket.create_server((LOOPBACK, 0)) as other,
    ):
        port, hidden = listener.getsockname()[1], other.getsockname()[1]

        def asked_for(number: int, port: int) -> int:
            network.send(tcp(number, (GATEWAY, port), SYN, seq=7))
            answer = network.packet(TCP)
            assert answer.ports == (port, number)
            return answer.flags

        assert asked_for(4000, port) & RST
        offers.write_text(f"1\n{port}\n")
        assert asked_for(4001, port) == SYN | ACK
        listener.accept()[0].close()
        assert asked_for(4002, hidden) & RST
        offers.write_text("")
        network.drain()
        network.settle()
        assert asked_for(4003, port) & RST
        assert quiet(other)


def test_it_reaches_the_host_by_its_address(network: Network, own: str) -> None:
    with socket.create_server((own, 0)) as listener:
        place = listener.getsockname()[:2]
        network.send(tcp(4000, place, SYN, seq=7))
        answer = network.packet(TCP)
        assert (answer.peer, answer.flags) == (place, SYN | ACK)
        network.send(tcp(4000, place, ACK | PSH, seq=8, ack=answer.seq + 1, data=b"hello"))
        with listener.accept()[0] as server:
            server.settimeout(DEADLINE_S)
            assert server.recv(100) == b"hello"
        network.send(tcp(4000, place, RST, seq=13))
    network.send(tcp(4001, (own, free_port()), SYN, seq=7))
    answer = network.packet(TCP)
    while answer.ports[1] != 4001:
        answer = network.packet(TCP)
    assert answer.flags & RST


def test_datagrams(network: Network, own: str) -> None:
    with bound(own) as server:
        place = server.getsockname()
        network.send(udp(5000, place, b"question"))
        data, peer = server.recvfrom(100)
        assert data == b"question"
        server.sendto(b"answer", peer)
        answer = network.packet(UDP)
        assert (answer.peer, answer.data) == (place, b"answer")
        network.send(udp(5000, place, b"spoofed", source="10.0.2.16"))
        whole = udp_packet((GUEST, 5000), place, bytes(4000))
        for at in range(0, len(whole), 1480):
            more = 0x2000 if at + 1480 < len(whole) else 0
            network.send(ipv4(UDP, place[0], whole[at : at + 1480], offset=at // 8 | more))
        assert server.recv(5000) == bytes(4000)


def test_what_is_asked_at_once_is_answered(tmp_path: Path, own: str) -> None:
    """libslirp's time goes on only when it is told to: by one that stands still, a question is too old at once."""
    with bound(own) as server:
        place = server.getsockname()
        asked_first = (arp(1, GATEWAY), udp(5000, place, b"question"))
        with running(tmp_path, met=False, first=asked_first) as network:
            _, peer = server.recvfrom(100)
            network.settle()
            server.sendto(b"answer", peer)
            network.card.settimeout(2)
            assert network.packet(UDP).data == b"answer"


def test_pieces(network: Network, own: str) -> None:
    """They are judged as a whole, and what comes in another order than a kernel's goes nowhere."""
    opening = tcp(4000, (GATEWAY, 80), SYN)[34:]
    network.send(ipv4(TCP, GATEWAY, opening[:8], offset=0x2000))
    network.send(ipv4(TCP, GATEWAY, opening[8:], offset=1))
    assert network.packet(TCP).flags == RST | ACK
    with bound(own) as server:
        whole = udp_packet((GUEST, 5000), server.getsockname(), bytes(32))
        for at, more in ((0, 1), (24, 0), (8, 1), (8, 1), (16, 1), (0, 1), (24, 1), (32, 0)):
            piece = whole[at : at + 8 if more else None]
            network.send(ipv4(UDP, own, piece, offset=at // 8 | more << 13))
        for number in range(9):  # of packets that never come to an end
            network.send(ipv4(UDP, own, whole[:8], offset=0x2000, identity=number))
        assert network.settle() == []
        assert quiet(server)


def test_addresses_are_told_by_dhcp(tmp_path: Path) -> None:
    request = bytes([1, 1, 6, 0]) + bytes(24) + bytes.fromhex("525400123456") + bytes(202)
    request += b"\x63\x82\x53\x63" + bytes([53, 1, 1, 255]) + bytes(60)
    with running(tmp_path, "hostname=box") as network:
        network.send(udp(68, ("255.255.255.255", 67), request, source="0.0.0.0"))
        answer = network.packet(UDP)
    assert (answer.source, answer.ports) == (GATEWAY, (67, 68))
    assert socket.inet_ntoa(answer.data[16:20]) == GUEST
    assert b"\x0c\x03box" in answer.data


# ---------------------------------------------------------------------------------------------- forwards


def test_forwards_of_connections(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    with running(tmp_path, f"forward=tcp:{LOOPBACK}:{first}:{GUEST}:80") as network:
        forwarded(network, first)
        assert network.ask(f"add tcp {LOOPBACK} {second} {GUEST} 80") == ["ok"]
        forwarded(network, second)
        assert network.ask(f"remove tcp {LOOPBACK} {first}", f"remove tcp {LOOPBACK} {first}") == [
            "ok",
            "error there is no such forward",
        ]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, first), DEADLINE_S)
        forwarded(network, second)


def test_the_first_datagram_waits_for_the_guests_address(tmp_path: Path) -> None:
    """As soon as the guest has told it, and not a second later, when it is too late."""
    port = free_port()
    with (
        running(tmp_path, f"forward=udp:{LOOPBACK}:{port}:{GUEST}:53", met=False) as network,
        bound(LOOPBACK) as client,
    ):
        assert network.ask("ready") == ["ok"]
        client.sendto(b"question", (LOOPBACK, port))
        assert network.frame()[12:14] == b"\x08\x06"  # who has the guest's address?
        network.card.settimeout(0.5)
        network.send(arp(2, GATEWAY))
        assert network.packet(UDP).data == b"question"


def test_many_connect_at_once(tmp_path: Path) -> None:
    port = free_port()
    with (
        running(tmp_path, f"forward=tcp:{LOOPBACK}:{port}:{GUEST}:80") as network,
        contextlib.ExitStack() as held,
    ):
        clients = [held.enter_context(socket.socket()) for _ in range(60)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex((LOOPBACK, port))
        peers: set[tuple[str, int]] = set()
        while len(peers) < len(clients):
            opening = network.packet(TCP)
            peers.add(opening.peer)
            network.send(tcp(80, opening.peer, RST | ACK, ack=opening.seq + 1))


@pytest.mark.parametrize("restrict", [False, True])
def test_forwards_of_datagrams(tmp_path: Path, own: str, restrict: bool) -> None:
    port = free_port()
    options = [f"forward=udp:0.0.0.0:{port}:{GUEST}:53", *(["restrict"] if restrict else [])]
    with (
        running(tmp_path, *options) as network,
        bound(LOOPBACK) as near,
        bound(own) as far,
        bound(LOOPBACK) as never,
    ):
        for client, address in ((near, LOOPBACK), (far, own), (near, LOOPBACK)):
            client.sendto(b"question", (address, port))
            question = network.packet(UDP)
            source = GATEWAY if client is near else own
            assert (question.peer, question.ports[1]) == ((source, client.getsockname()[1]), 53)
            network.send(udp(53, question.peer, b"answer"))
            assert client.recvfrom(100) == (b"answer", (address, port))
        network.send(udp(54, (GATEWAY, near.getsockname()[1]), b"from another port"))
        network.send(udp(53, (GATEWAY, never.getsockname()[1]), b"to who has not asked"))
        network.settle()
        assert quiet(near)
        assert quiet(never)


def test_restricted(tmp_path: Path, own: str) -> None:
    port = free_port()
    with (
        running(tmp_path, "restrict", f"forward=tcp:{LOOPBACK}:{port}:{GUEST}:80") as network,
        socket.create_server((own, 0)) as listener,
        bound(own) as server,
    ):
        network.send(tcp(4000, listener.getsockname(), SYN))
        network.send(tcp(4001, (DNS, 53), SYN))
        network.send(udp(4000, server.getsockname(), b"hello"))
        network.send(udp(4001, (DNS, 53), QUESTION))
        network.send(echo(own))
        answers = network.settle()
        assert quiet(listener)
        assert quiet(server)
        assert [(one.protocol, one.flags) for one in answers] == [(TCP, RST | ACK)] * 2
        forwarded(network, port)


# ---------------------------------------------------------------------------------------------- control


def test_requests_that_cannot_be_met(network: Network) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, bound(LOOPBACK) as taken_too:
        port, port_too = taken.getsockname()[1], taken_too.getsockname()[1]
        expected = {
            f"add tcp {LOOPBACK} {port} {GUEST} 80": f"port {port} of {LOOPBACK} is taken",
            f"add udp {LOOPBACK} {port_too} {GUEST} 80": f"port {port_too}/udp of {LOOPBACK} is taken",
            f"add tcp 203.0.113.9 1 {GUEST} 80": "port 1 of 203.0.113.9: Cannot assign requested address",
            f"add tcp {LOOPBACK} 1 10.0.2.16 80": "the guest has another address",
            f"add sctp {LOOPBACK} 1 {GUEST} 80": "a forward is of tcp or udp",
            f"add tcp localhost 1 {GUEST} 80": "the host's address is none of IPv4",
            f"add tcp {LOOPBACK} 0 {GUEST} 80": "the host's port is not within 1 to 65535",
            f"add tcp {LOOPBACK} 1 ::1 80": "the guest's address is none of IPv4",
            f"add tcp {LOOPBACK} 1 {GUEST} 65536": "the guest's port is not within 1 to 65535",
            f"remove tcp {LOOPBACK} -1": "the host's port is not within 1 to 65535",
            f"remove tcp {LOOPBACK} {port}": "there is no such forward",
            "add": "there are too few or too many words",
            "add " + "a " * 100: "there are too few or too many words",
            "drop": "a request is add, remove, forward or ready",
            "\0": "a request is add, remove, forward or ready",
            "add " * 100: "a request has at most 256 bytes",
        }
        assert network.ask(*expected) == [f"error {words}" for words in expected.values()]


def test_forwards_are_told(network: Network) -> None:
    assert network.ask("forward 0") == ["error there is no such forward"]
    ports = [free_port() for _ in range(3)]
    wanted = [
        f"{kind} {LOOPBACK} {port} {GUEST} 80"
        for kind, port in zip(("tcp", "udp", "tcp"), ports, strict=True)
    ]
    assert network.ask(*(f"add {each}" for each in wanted)) == ["ok"] * 3
    assert network.ask("forward 0", "forward 1", "forward 2") == [f"ok {each}" for each in wanted]
    assert network.ask(f"remove tcp {LOOPBACK} {ports[0]}", f"remove udp {LOOPBACK} {ports[2]}") == [
        "ok",
        "error there is no such forward",
    ]
    left = network.ask("forward 0", "forward 1", "forward 2", "forward -1", "forward", "forward 4097")
    assert sorted(left[:2]) == sorted(f"ok {each}" for each in wanted[1:])
    assert [words.split()[0] for words in left[2:]] == ["error"] * 4


def test_there_is_room_for_who_asks(network: Network) -> None:
    with contextlib.ExitStack() as askers:
        clients = []
        for _ in range(20):
            clients.append(askers.enter_context(asker(network.control)))
            assert asked(clients[-1], "nonsense").startswith("error")
        assert [asked(client, "nonsense")[:5] for client in clients[-8:]] == ["error"] * 8
        assert clients[0].recv(100) == b""  # who was silent for longest


def test_who_reads_no_answers_is_dropped(network: Network) -> None:
    with asker(network.control) as deaf:
        with pytest.raises(ConnectionError):
            for _ in itertools.count():
                deaf.send(b"nonsense")
        assert network.ask("nonsense") == ["error a request is add, remove, forward or ready"]


def test_asking(network: Network) -> None:
    async def test() -> None:
        port = PortMapping(80, free_port(), LOOPBACK)
        await usernet.ready(network.control)
        await usernet.add(network.control, port)
        with pytest.raises(Unavailable, match=f"cannot forward {LOOPBACK}:{port.host_port}/tcp: .* is taken"):
            await usernet.add(network.control, port, GUEST)
        await asyncio.to_thread(forwarded, network, port.host_port)
        await usernet.remove(network.control, port)
        with pytest.raises(NotFound, match=f"no forward of tcp:{LOOPBACK}:{port.host_port}: "):
            await usernet.remove(network.control, port)

    asyncio.run(test())


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    control = tmp_path / "control.sock"
    port = PortMapping(80, 1, LOOPBACK)
    with pytest.raises(HypervisorError, match="cannot be reached"):
        asyncio.run(usernet.add(control, port))
    monkeypatch.setattr(usernet, "DEADLINE_S", 0.01)
    with (
        unix.listen(control, kind=socket.SOCK_SEQPACKET),
        pytest.raises(HypervisorError, match="did not answer"),
    ):
        asyncio.run(usernet.remove(control, port))
