"""A guest of ``native/usernet.c`` that speaks Ethernet by hand, and the host's side of its network."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from frames import ACK, DNS, FIN, GATEWAY, GUEST, ICMP, PSH, RST, SYN, TCP, Packet, arp, echo, parse, tcp
from hypercontainer.hypervisor import usernet
from hypercontainer.linux import unix

DEADLINE_S = 30.0
LOOPBACK = "127.0.0.1"
NETWORK = ("network=10.0.2.0/24", f"gateway={GATEWAY}", f"dns={DNS}", f"guest={GUEST}")


@dataclass
class Network:
    """The guest's end of a running one, and its control socket."""

    card: socket.socket
    control: Path

    def send(self, frame: bytes) -> None:
        self.card.send(frame)

    def frame(self) -> bytes:
        return self.card.recv(1 << 17)

    def packet(self, protocol: int) -> Packet:
        """The next of its kind."""
        while True:
            packet = parse(self.frame())
            if packet is not None and packet.protocol == protocol:
                return packet

    def settle(self) -> list[Packet]:
        """All frames sent so far have been taken; what was answered to them before this."""
        self.send(echo(GATEWAY))
        before = []
        while (packet := parse(self.frame())) is None or packet.protocol != ICMP or packet.payload[0] != 0:
            before += [packet] if packet is not None else []
        return before

    def meet(self) -> None:
        """So that its address is known, and frames for it are not asked for by ARP before."""
        self.send(arp(1, GATEWAY))
        while self.frame()[12:14] != b"\x08\x06":
            pass

    def drain(self) -> None:
        """Takes what is there."""
        while select.select([self.card], [], [], 0)[0]:
            self.frame()

    def ask(self, *requests: str) -> list[str]:
        with asker(self.control) as client:
            return [asked(client, request) for request in requests]


def asker(control: Path) -> socket.socket:
    client = unix.connect(control, kind=socket.SOCK_SEQPACKET)
    client.settimeout(DEADLINE_S)
    return client


def asked(client: socket.socket, request: str) -> str:
    client.send(request.encode())
    return client.recv(4096).decode()


@contextlib.contextmanager
def running(
    directory: Path,
    *options: str,
    kind: int = socket.SOCK_SEQPACKET,
    before: tuple[str, ...] = (),
    met: bool = True,
    first: tuple[bytes, ...] = (),
) -> Iterator[Network]:
    """One that ends with its guest, with status 0; ``met``: it knows its guest's address; ``first``: frames that are
    there when it begins."""
    control = directory / "control.sock"
    with contextlib.ExitStack() as stack:
        card, frames = (stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, kind))
        listener = stack.enter_context(unix.listen(control, kind=socket.SOCK_SEQPACKET))
        stack.callback(control.unlink)
        fds = (frames.fileno(), listener.fileno())
        for frame in first:
            card.send(frame)
        process = subprocess.Popen(
            [*before, str(usernet.PROGRAM), *map(str, fds), *NETWORK, *options], pass_fds=fds, env={}
        )
        try:
            for theirs in (frames, listener):
                theirs.close()
            card.settimeout(DEADLINE_S)
            network = Network(card, control)
            if met:
                network.meet()
            yield network
            if kind == socket.SOCK_DGRAM:  # whose end it is told when it answers, and not before
                process.send_signal(signal.SIGSTOP)
                card.send(arp(1, GATEWAY))
            card.close()
            process.send_signal(signal.SIGCONT)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()
            process.wait()


def bound(address: str, port: int = 0) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((address, port))
    one.settimeout(DEADLINE_S)
    return one


def quiet(one: socket.socket) -> bool:
    return not select.select([one], [], [], 0)[0]


def segment(network: Network) -> Packet:
    """The next to the guest's port 80."""
    while (packet := network.packet(TCP)).ports[1] != 80:
        pass
    return packet


def forwarded(network: Network, port: int) -> None:
    """A connection of the host's through a forward, and bytes both ways."""
    with socket.create_connection((LOOPBACK, port), DEADLINE_S) as client:
        opening = segment(network)
        assert (opening.source, opening.target) == (GATEWAY, GUEST)
        assert opening.flags == SYN
        seq, ack = 1000, opening.seq + 1
        network.send(tcp(80, opening.peer, SYN | ACK, seq=seq, ack=ack))
        assert segment(network).flags == ACK
        client.sendall(b"to the guest")
        assert segment(network).data == b"to the guest"
        network.send(tcp(80, opening.peer, ACK | PSH, seq=seq + 1, ack=ack + 12, data=b"from the guest"))
        assert client.recv(100) == b"from the guest"
    while not segment(network).flags & FIN:
        pass
    network.send(tcp(80, opening.peer, RST, seq=seq + 15))


def own_address() -> str | None:
    """An address of this machine's that is not its loopback's; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(one.getsockname()[0])
