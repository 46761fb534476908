"""An ordinary user's way out, with pods made by hand: who reaches whom by it, its ports, its process, what is left."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import frames_of_pods as f
from audit import kill_process
from frames import ACK, RST, SYN
from hypercontainer.contract.networks import Subnet
from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.carrier import Carrier
from hypercontainer.linux.process import Identity
from hypercontainer.network import way_out_rules
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.parts import Opening, Published, Served
from hypercontainer.network.way_out import WayOut
from led_ports import ANY, DOOR, KINDS, LOOPBACK, PORT, UDP, answered, asking, local, published
from pod_by_hand import INTERNAL, A, B, Plug, Pod, plugging
from private_host import HOST, PrivateHost, footprint

GATEWAY, NAME_SERVER = "10.236.0.1", "10.236.0.2"  # the host and its name server, as the way out calls them


def made(folder: Path) -> Fabric:
    return Fabric(folder / "networks", WayOut(Carrier(folder / "way-out", folder / "facts.json")), user=True)


@pytest.fixture
def fabric(host: PrivateHost, tmp_path: Path) -> Iterator[Fabric]:
    """On the host there is nothing of it, but for what listens."""
    before = footprint()
    one = made(tmp_path)
    with contextlib.ExitStack() as undo:
        undo.callback(one.dissolve)
        one.open((A, B, INTERNAL), (), ())
        yield one
        assert footprint() == before
        last = carrier(one)
    assert not last or not Path(f"/proc/{last.pid}").exists()
    assert [each.name for each in tmp_path.iterdir() if each.name in ("networks", "way-out")] == []


@pytest.fixture
def plug(fabric: Fabric) -> Iterator[Plug]:
    with plugging(fabric) as plugged:
        yield plugged


def carrier(fabric: Fabric) -> Identity:
    assert fabric.carrier is not None
    return fabric.carrier


def test_the_way_out_and_back(host: PrivateHost, plug: Plug) -> None:
    pod = plug(A, 2)
    with contextlib.closing(host.remote(UDP)) as remote:
        address = remote.getsockname()
        pod.out(f.udp((pod.ip, PORT), address, b"ping"))
        data, sender = remote.recvfrom(100)
        assert (data, sender[0]) == (b"ping", str(HOST.ip))
        remote.sendto(b"pong", sender)
        heard = pod.hears_udp(b"pong")
        assert (heard.peer, heard.target) == (address, pod.ip)


def test_an_internal_network_has_no_way_out(host: PrivateHost, plug: Plug) -> None:
    inside, outside = plug(INTERNAL, 2), plug(A, 2)
    with contextlib.closing(host.remote(UDP)) as remote:
        inside.out(f.udp((inside.ip, PORT), remote.getsockname(), b"no way"))
        inside.out(f.echo(inside.ip, inside.gateway))
        inside.hears(lambda frame: (frame.kind, frame.protocol) == (f.IP4, f.ICMP))
        outside.out(f.udp((outside.ip, PORT), remote.getsockname(), b"mark"))
        assert remote.recvfrom(100)[0] == b"mark"


@pytest.mark.parametrize("size", [1, 1001, 3_000_001])
def test_streams_come_whole_in_segments_of_every_size(fabric: Fabric, size: int) -> None:
    """Whose checksums the kernel leaves to the device, and of which it makes one of several."""
    data = random.Random(size).randbytes(size)
    with socket.create_server((str(HOST.ip), 0)) as server, ThreadPoolExecutor(1) as beside:
        server.settimeout(5)
        inside = fabric.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.closing(inside):
            inside.settimeout(5)
            inside.connect(server.getsockname())
            here, _ = server.accept()
            with here:
                here.settimeout(5)
                for source, target in ((inside, here), (here, inside)):
                    sent = beside.submit(source.sendall, data)
                    assert _received(target, size) == data
                    sent.result()


def _received(sock: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (more := sock.recv(1 << 16)):
        found += more
    return bytes(found)


@pytest.mark.parametrize("size", [0, 1, 1001, 4001])
def test_datagrams_come_whole(host: PrivateHost, fabric: Fabric, size: int) -> None:
    """Also those that go in fragments."""
    data = random.Random(size).randbytes(size)
    inside = fabric.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(inside), contextlib.closing(host.remote(UDP)) as remote:
        inside.settimeout(5)
        inside.sendto(data, remote.getsockname())
        came, sender = remote.recvfrom(1 << 16)
        assert came == data
        remote.sendto(data, sender)
        assert inside.recvfrom(1 << 16)[0] == data


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize("host_ip", [ANY, str(HOST.ip)])
def test_the_world_comes_in_as_itself(
    host: PrivateHost, fabric: Fabric, plug: Plug, protocol: str, host_ip: str
) -> None:
    pod = plug(A, 2)
    fabric.publish([published(pod, host_ip, protocol)])
    remote = host.remote(KINDS[protocol])
    address = remote.getsockname()
    with asking(remote, (str(HOST.ip), DOOR)) as client:
        assert answered(pod, client).peer == address


@pytest.mark.parametrize("protocol", KINDS)
@pytest.mark.parametrize(("host_ip", "asked"), [(LOOPBACK, LOOPBACK), (ANY, LOOPBACK), (ANY, str(HOST.ip))])
def test_the_host_itself_comes_in_by_an_address_that_can_be_answered(
    fabric: Fabric, plug: Plug, protocol: str, host_ip: str, asked: str
) -> None:
    pod = plug(A, 2)
    fabric.publish([published(pod, host_ip, protocol)])
    with asking(local(KINDS[protocol], asked), (asked, DOOR)) as client:
        assert answered(pod, client).source == (GATEWAY if asked == LOOPBACK else str(HOST.ip))


def test_who_goes_on_sending_reaches_whom_the_port_leads_to_by_then(
    host: PrivateHost, fabric: Fabric, plug: Plug
) -> None:
    former, later = plug(A, 2), plug(A, 3)
    with contextlib.closing(host.remote(UDP)) as client:
        for pod in (former, later):
            fabric.publish([published(pod, ANY)])
            client.sendto(b"ask", (str(HOST.ip), DOOR))
            assert answered(pod, client).peer == client.getsockname()
            fabric.withdraw([published(pod, ANY)])


def test_no_pod_takes_all_of_the_process(
    host: PrivateHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way_out_rules, "FLOWS_MAX", few := 8)
    with contextlib.closing(host.remote(UDP)) as remote, contextlib.ExitStack() as undo:
        fabric = made(tmp_path)
        undo.callback(fabric.dissolve)
        fabric.open((A,), (), ())
        plug = undo.enter_context(plugging(fabric))
        greedy, other = plug(A, 2), plug(A, 3)
        for number in range(2 * few):
            greedy.out(f.udp((greedy.ip, 1000 + number), remote.getsockname(), b"greedy"))
        other.out(f.udp((other.ip, 1000), remote.getsockname(), b"other"))
        heard = [remote.recvfrom(100) for _ in range(few + 1)]
        assert [data for data, _ in heard] == [*[b"greedy"] * few, b"other"]
        remote.sendto(b"answer", heard[0][1])
        greedy.hears_udp(b"answer")
        greedy.out(f.udp((greedy.ip, 1000), remote.getsockname(), b"goes on"))
        assert remote.recvfrom(100)[0] == b"goes on"


def test_one_port_of_two_addresses_leads_to_two_pods(fabric: Fabric, plug: Plug) -> None:
    one, other = plug(A, 2), plug(B, 2)
    fabric.publish([published(one, LOOPBACK), published(other, str(HOST.ip))])
    for pod, address in ((one, LOOPBACK), (other, str(HOST.ip))):
        with asking(local(UDP, address), (address, DOOR)) as client:
            answered(pod, client)


def test_all_or_none_are_published(fabric: Fabric, plug: Plug) -> None:
    one, other = plug(A, 2), plug(A, 3)
    fabric.publish([published(one, LOOPBACK)])
    fabric.publish([published(one, LOOPBACK)])  # as it is
    with pytest.raises(Unavailable, match=f"{LOOPBACK}:{DOOR}/udp: port {DOOR}/udp of {LOOPBACK} is taken"):
        fabric.publish([published(other, LOOPBACK, door=DOOR + 1), published(other, LOOPBACK)])
    with local(UDP, LOOPBACK) as free:
        free.bind((LOOPBACK, DOOR + 1))
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"one", (LOOPBACK, DOOR))
    one.hears_udp(b"one")


def test_what_is_withdrawn_is_anybodys(fabric: Fabric, plug: Plug) -> None:
    pod, other = plug(A, 2), plug(A, 3)
    ports = [published(pod, ANY, protocol, door=door) for protocol in KINDS for door in (8081, 8082)]
    fabric.publish(ports)
    fabric.withdraw(ports[1:2])
    fabric.withdraw(ports)  # of which one is gone
    for each in ports:
        with local(KINDS[each.protocol], ANY) as free:
            free.bind((ANY, each.host_port))
    fabric.publish([published(other, ANY, door=8081)])
    fabric.withdraw([published(pod, ANY, door=8081)])  # which is the other's
    with local(UDP, LOOPBACK) as here:
        here.sendto(b"theirs", (LOOPBACK, 8081))
    other.hears_udp(b"theirs")


def test_a_port_leads_to_a_service(host: PrivateHost, fabric: Fabric, plug: Plug) -> None:
    """To whom it leads by then; to nobody it is refused by the namespace, as within."""
    one, other = plug(A, 2), plug(B, 2)
    subnet, address = Subnet("10.237.16.0/20"), "10.237.16.9"
    ways: list[tuple[Served, ...]] = [
        (Served("udp", address, 5000, behind),) for behind in ((), ((one.ip, PORT),), ((other.ip, PORT),), ())
    ]
    fabric.lead(subnet)
    fabric.serve((), ways[0])
    port = Published("udp", ANY, DOOR, address, 5000)
    fabric.publish([port])
    with contextlib.closing(host.remote(UDP)) as client:
        for former, wanted, pod in ((ways[0], ways[1], one), (ways[1], ways[2], other)):
            fabric.serve(former, wanted)
            client.sendto(b"ask", (str(HOST.ip), DOOR))
            assert answered(pod, client).peer == client.getsockname()
        fabric.open((A, B), (one.place, other.place), [port], subnet, ways[2])
        client.sendto(b"ask", (str(HOST.ip), DOOR))
        assert answered(other, client).peer == client.getsockname()
        fabric.withdraw([port])
        fabric.serve(ways[2], ways[3])
        fabric.publish([port])
        client.sendto(b"no way", (str(HOST.ip), DOOR))
        fabric.publish([published(other, ANY, door=DOOR + 1), published(one, ANY, door=DOOR + 2)])
        for pod, door in ((other, DOOR + 1), (one, DOOR + 2)):
            client.sendto(b"last", (str(HOST.ip), door))
            assert not [frame for frame in pod.before(b"last") if frame.protocol == f.UDP]
    fabric.lead(subnet, gone=True)


def test_of_ipv6_there_are_no_ports(fabric: Fabric, plug: Plug) -> None:
    """An IPv6 client of a port of all addresses is refused, and tries the other."""
    pod = plug(A, 2)
    fabric.publish([published(pod, ANY, "tcp"), published(pod, "::", "tcp")])
    with local(KINDS["tcp"], "::1") as client, pytest.raises(ConnectionRefusedError):
        client.connect(("::1", DOOR))


def test_the_hosts_loopback_is_out_of_reach(fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2)
    with local(UDP, LOOPBACK) as server, local(UDP, ANY) as everywhere:
        server.bind((LOOPBACK, 5353))
        everywhere.bind((ANY, 5354))
        everywhere.settimeout(5)
        for address in (LOOPBACK, "127.1.2.3", GATEWAY, NAME_SERVER, "0.0.0.0"):
            for port in (53, 5353, 5354):
                pod.out(f.udp((pod.ip, 1), (address, port), b"no way"))
        pod.out(f.udp((pod.ip, 1), (str(HOST.ip), 5354), b"mark"))
        assert everywhere.recvfrom(100)[0] == b"mark"
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recvfrom(100)


def test_what_serves_the_way_out_alone_is_shut(fabric: Fabric, plug: Plug) -> None:
    """There it would be refused: a frame for another of the host's ports comes behind it, whose refusal comes first."""
    pod = plug(A, 2)
    for address in (GATEWAY, NAME_SERVER):
        pod.out(f.syn((pod.ip, 1), (address, 54)))
        assert refused(pod, str(HOST.ip), 54)


def test_a_port_of_the_hosts_loopback_is_opened_to_one_pod(fabric: Fabric, plug: Plug) -> None:
    pod, other = plug(A, 2), plug(A, 3)
    with socket.create_server((LOOPBACK, 0)) as server, socket.create_server((LOOPBACK, 0)) as beside:
        server.settimeout(5)
        port, shut = server.getsockname()[1], beside.getsockname()[1]
        fabric.publish([Opening(pod.ip, port)])
        assert fabric.host() == str(HOST.ip)
        pod.out(f.syn((pod.ip, 99), (fabric.host(), port)))
        came = pod.hears(lambda frame: frame.protocol == f.TCP)
        assert (came.peer, came.flags) == ((fabric.host(), port), SYN | ACK)
        pod.out(f.tcp((pod.ip, 99), came.peer, ACK, seq=came.ack, ack=came.seq + 1))
        connection, client = server.accept()
        connection.close()
        assert client[0] == LOOPBACK
        for asker, wanted in ((other, port), (pod, shut)):
            assert refused(asker, fabric.host(), wanted)
        for asker in (pod, other):
            for place in (GATEWAY, NAME_SERVER):
                asker.out(f.syn((asker.ip, 7), (place, port)))
        fabric.withdraw([Opening(pod.ip, port)])
        assert refused(pod, fabric.host(), port)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def refused(pod: Pod, address: str, port: int) -> bool:
    """By this one, and none before."""
    pod.out(f.syn((pod.ip, 1234), (address, port)))
    heard = pod.hears(lambda frame: frame.protocol == f.TCP and bool(frame.flags & RST))
    return heard.peer == (address, port)


def test_a_process_that_was_killed_is_made_anew(host: PrivateHost, fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2)
    port = published(pod, ANY)
    fabric.publish([port])
    former = carrier(fabric)
    kill_process(former.pid)
    assert fabric.carrier is None and not fabric.is_open
    assert fabric.open((A,), (pod.place,), [port])  # the namespace was there
    assert carrier(fabric) != former
    with contextlib.closing(host.remote(UDP)) as remote:
        remote.sendto(b"ask", (str(HOST.ip), DOOR))
        assert answered(pod, remote).peer == remote.getsockname()


def test_whose_keeper_was_killed_has_a_process_of_the_new_namespace(
    host: PrivateHost, fabric: Fabric
) -> None:
    former = carrier(fabric)
    kill_process(fabric.namespace.pid)
    assert not fabric.is_open
    assert not fabric.open((A,), (), ())
    assert carrier(fabric) != former and not Path(f"/proc/{former.pid}").exists()
    with plugging(fabric) as plug, contextlib.closing(host.remote(UDP)) as remote:
        pod = plug(A, 2)
        pod.out(f.udp((pod.ip, 1), remote.getsockname(), b"out"))
        assert remote.recvfrom(100)[0] == b"out"


def test_the_next_has_what_an_earlier_one_has_left(
    host: PrivateHost, fabric: Fabric, plug: Plug, tmp_path: Path
) -> None:
    """Of its ports those that are wished for, and no others; by them connections go on."""
    pod, other = plug(A, 2), plug(A, 3)
    kept, gone = published(pod, ANY), published(pod, ANY, door=DOOR + 1)
    fabric.publish([kept, gone])
    with asking(host.remote(UDP), (str(HOST.ip), DOOR)) as client:
        answered(pod, client)
        fabric.close()
        with contextlib.closing(made(tmp_path)) as following:
            new = published(other, LOOPBACK, door=DOOR)  # of one address, beside that of all
            assert following.open((A,), (pod.place, other.place), [kept])
            with local(UDP, ANY) as free:
                free.bind((ANY, DOOR + 1))
            client.sendto(b"ask", (str(HOST.ip), DOOR))
            answered(pod, client)
            with pytest.raises(Unavailable, match="taken"):
                following.publish([new])
    fabric.open((A,), (pod.place, other.place), [kept])


def test_of_what_cannot_be_published_again_the_others_are(fabric: Fabric, plug: Plug) -> None:
    pod = plug(A, 2)
    with local(UDP, ANY) as somebody:
        somebody.bind((ANY, DOOR))
        fabric.open((A,), (pod.place,), [published(pod, ANY), published(pod, ANY, door=DOOR + 1)])
        with asking(local(UDP, ANY), (LOOPBACK, DOOR + 1)) as client:
            answered(pod, client)


def test_a_process_that_cannot_begin_leaves_nothing(
    host: PrivateHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = footprint()
    monkeypatch.setattr("hypercontainer.network.way_out.WayOut._peers", lambda self: ("10.0.0.1", "10.0.0.2"))
    with pytest.raises(
        Unavailable, match="the way out of networks did not begin: gateway: it is not in the network"
    ):
        made(tmp_path).open((A,), (), ())
    assert footprint() == before
    assert not (tmp_path / "networks").exists() and not (tmp_path / "way-out").exists()
