"""Published ports of pods made by hand, and clients of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import frames_of_pods as f
from frames import ACK, SYN
from frames_of_pods import Heard
from hypercontainer.network.parts import Published
from pod_by_hand import Pod

LOOPBACK, ANY, ANY6 = "127.0.0.1", "0.0.0.0", "::"
UDP, TCP = socket.SOCK_DGRAM, socket.SOCK_STREAM
KINDS = {"udp": UDP, "tcp": TCP}
DOOR, PORT = 8080, 80  # the host's, the pod's


def own(pod: Pod, address: str) -> str:
    return pod.ip6 if ":" in address else pod.ip


def published(
    pod: Pod, host_ip: str, protocol: str = "udp", *, door: int = DOOR, port: int = PORT
) -> Published:
    return Published(protocol, host_ip, door, own(pod, host_ip), port)


@contextlib.contextmanager
def asking(sock: socket.socket, address: tuple[str, int]) -> Iterator[socket.socket]:
    """A client of this address: it has said b"ask" by UDP, or is about to connect."""
    with contextlib.closing(sock):
        if sock.type == UDP:
            sock.sendto(b"ask", address)
        else:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(address)
        yield sock


def answered(pod: Pod, client: socket.socket) -> Heard:
    """What came to the pod, whose answer has come to the client."""
    wanted = f.UDP if client.type == UDP else f.TCP
    heard = pod.hears(lambda frame: frame.protocol == wanted and frame.ports[1] == PORT)
    assert heard.target in (pod.ip, pod.ip6)
    client.settimeout(5)
    here = (heard.target, PORT)
    if client.type == UDP:
        assert heard.data == b"ask"
        pod.out(f.udp(here, heard.peer, b"answer"))
        assert client.recvfrom(100)[0] == b"answer"
    else:
        assert heard.flags & SYN
        pod.out(f.tcp(here, heard.peer, SYN | ACK, seq=1, ack=heard.seq + 1))
        pod.hears(lambda frame: frame.protocol == f.TCP and frame.peer == heard.peer and frame.flags == ACK)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        client.getpeername()
    return heard


def local(kind: socket.SocketKind, address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
