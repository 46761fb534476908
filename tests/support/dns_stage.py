"""Names on loopback sockets: a network's zone, name servers that say what a test wants, clients of many addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import dns.message

from dns_words import Asked, Message, question, said
from hypercontainer.network.dns.server import Server, ServerLimits
from hypercontainer.network.dns.upstream import Limits, Upstream

DEADLINE_S = 20.0

Address = tuple[str, int]
Says = Callable[[Asked], Sequence[bytes]]


@dataclass
class StageZone:
    """``names`` of anybody, or of one asker: ("127.0.0.2", "web")."""

    names: dict[str | tuple[str, str], Sequence[str]] = field(default_factory=dict)
    reversed: dict[str, str] = field(default_factory=dict)
    outside: bool = True
    own_servers: dict[str, Sequence[Address]] = field(default_factory=dict)
    heard: list[tuple[str, str]] = field(default_factory=list)
    learnt: list[tuple[str, bytes]] = field(default_factory=list)

    def lookup(self, asker: str, name: str) -> Sequence[str] | None:
        self.heard.append((asker, name))
        return self.names.get((asker, name), self.names.get(name))

    def reverse(self, asker: str, address: str) -> str | None:
        self.heard.append((asker, address))
        return self.reversed.get(address)

    def learns(self, asker: str, answer: bytes) -> None:
        self.learnt.append((asker, answer))

    def may_forward(self, asker: str, name: str) -> bool:
        return self.outside

    def servers(self, asker: str) -> Sequence[Address] | None:
        return self.own_servers.get(asker)


class NameServer:
    """Sends what ``says`` returns, and keeps what it was asked in ``asked``; ``heard`` is set at each question."""

    def __init__(self, says: Says, udp: socket.socket) -> None:
        self.says = says
        self.asked: list[Asked] = []
        self.heard = asyncio.Event()
        self.address: Address = udp.getsockname()
        self._udp = udp

    def read(self) -> None:
        packet, (_, port) = self._udp.recvfrom(65536)
        self.send(port, *self._answers(Asked(packet, "udp", port)))

    def send(self, port: int, *packets: bytes) -> None:
        for packet in packets:
            self._udp.sendto(packet, ("127.0.0.1", port))

    def _answers(self, asked: Asked) -> Sequence[bytes]:
        self.asked.append(asked)
        self.heard.set()
        return self.says(asked)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                port = writer.get_extra_info("peername")[1]
                for answer in self._answers(Asked(packet, "tcp", port)):
                    writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


def bound(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """A socket for datagrams, and one that listens, at the same port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            udp = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            udp.bind((host, 0))
            tcp = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            with contextlib.suppress(OSError):
                tcp.bind(udp.getsockname()[:2])
                tcp.listen(128)
                stack.pop_all()
                return udp, tcp
    raise AssertionError("no port that is free for both")


@contextlib.asynccontextmanager
async def name_server(says: Says) -> AsyncIterator[NameServer]:
    udp, tcp = bound()
    loop = asyncio.get_running_loop()
    made = NameServer(says, udp)
    loop.add_reader(udp, made.read)
    server = await asyncio.start_server(made.connected, sock=tcp)
    try:
        yield made
    finally:
        loop.remove_reader(udp)
        udp.close()
        server.close()


@contextlib.asynccontextmanager
async def serving(
    zone: StageZone,
    *servers: NameServer | Address,
    host: str = "127.0.0.1",
    limits: ServerLimits | None = None,
    upstream: Limits | None = None,
    now: Callable[[], float] | None = None,
) -> AsyncIterator[Address]:
    """Where it can be asked."""
    clock = {} if now is None else {"now": now}
    addresses = [one.address if isinstance(one, NameServer) else one for one in servers]
    server = Server(Upstream(lambda: addresses, limits=upstream, **clock), limits=limits, **clock)
    udp, tcp = bound(host)
    address = udp.getsockname()[:2]
    server.serve(udp, tcp, zone)
    try:
        yield address
    finally:
        await server.close()


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        return True
    return False


@contextlib.contextmanager
def client(server: Address, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A socket for datagrams, from the address ``host``."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind((host, 0))
        sock.connect(server)
        yield sock


async def received(sock: socket.socket) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.get_running_loop().sock_recv(sock, 65536)


async def asked(server: Address, packet: bytes, host: str = "127.0.0.1") -> Message:
    """The answer to ``packet``, by UDP."""
    with client(server, host) as sock:
        sock.send(packet)
        return dns.message.from_wire(await received(sock))


async def ask(server: Address, name: str, kind: str = "A", host: str = "127.0.0.1") -> tuple[str, list[str]]:
    """What is said, and the data of the answer's records."""
    answer = await asked(server, question(name, kind), host)
    return said(answer)


@contextlib.asynccontextmanager
async def connected(
    server: Address, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*server, local_addr=(host, 0))
    try:
        yield reader, writer
    finally:
        writer.close()


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


async def unframed(reader: asyncio.StreamReader) -> Message:
    async with asyncio.timeout(DEADLINE_S):
        length = int.from_bytes(await reader.readexactly(2), "big")
        return dns.message.from_wire(await reader.readexactly(length))


async def closed(reader: asyncio.StreamReader) -> None:
    """Once the other side has ended it, however."""
    async with asyncio.timeout(DEADLINE_S):
        with contextlib.suppress(ConnectionError):
            await reader.read()
