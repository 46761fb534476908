"""Serves the connections of pods that are led here instead of to where they go.

Who speaks is known by the address that it comes from: no other can come from there.  Where a guest wanted to go counts
for nothing but the port, and where it named no host: the host is looked up anew, by who knows the pod.  TLS is passed
on as it is unless something in it is to be decided on, or put in.

What is bounded: connections, of one pod and of all; what is kept of each; how long anybody may be silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h11

from hypercontainer.network.egress import hello, reach, rules, streams
from hypercontainer.network.egress.authority import PROTOCOLS, Authority, Pair
from hypercontainer.network.egress.exchange import Exchange, Timeouts, Way, relay
from hypercontainer.network.egress.rules import HttpRule, Refused
from hypercontainer.network.egress.streams import Plain, Stream, Tls
from hypercontainer.network.egress.wire import Denied, Tell

ADDRESSES_MAX = 8  # of a host, that are tried
_ORIGINAL4, _ORIGINAL6 = 80, 80  # SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST: netfilter_ipv4.h and ip6_tables.h
# access_denied, as a record of TLS (RFC 8446, section 6.2)
_ALERT = bytes([21, 3, 3, 0, 2, 2, 49])
HTTP, HTTPS = "http", "https"
_BROKEN = (OSError, h11.ProtocolError)  # by either side, who learns it by the connection's end


@dataclass(frozen=True)
class Limits:
    """Connections: of ``each`` pod, or its share of the ``total`` where that is less."""

    each: int = 512
    total: int = 4096


class _Pod:
    """What holds now: it may change while a connection is there."""

    def __init__(self, told: Tell, folder: Path) -> None:
        self.told, self._folder = told, folder
        self.authority = self._made(told)
        self.tasks: set[asyncio.Task[None]] = set()

    def change(self, told: Tell) -> None:
        if (told.certificate, told.key) != (self.told.certificate, self.told.key):
            self.authority = self._made(told)
        self.told = told

    def _made(self, told: Tell) -> Authority | None:
        return Authority(Pair(told.certificate, told.key), self._folder) if told.certificate else None

    def rules(self, scheme: str) -> list[HttpRule]:
        return [each for each in self.told.rules if scheme in (each.schemes or rules.PORTS)]

    def secrets(self, scheme: str, host: str) -> list[tuple[bytes, bytes]]:
        return [
            (each.header.encode(), each.value.encode("latin-1"))
            for each in self.told.secrets
            if (each.scheme, each.host) == (scheme, host)
        ]


Resolve = Callable[[str, str], Awaitable[Sequence[str]]]


@dataclass
class Proxy:
    """``resolve``: (pod, name) to addresses that it may reach; raises ``Refused``.  ``denied`` is told what was
    refused.  ``roots`` verifies servers.  ``folder``: see `Authority`."""

    resolve: Resolve
    denied: Callable[[Denied], None]
    roots: ssl.SSLContext
    folder: Path
    limits: Limits = Limits()
    timeouts: Timeouts = field(default_factory=Timeouts)
    ports: dict[str, int] = field(default_factory=lambda: dict(rules.PORTS))
    _pods: dict[str, _Pod] = field(default_factory=dict)
    _by_address: dict[str, _Pod] = field(default_factory=dict)
    _count: int = 0

    # ------------------------------------------------------------------------------------- pods

    def tell(self, told: Tell) -> None:
        """Raises ``ValueError`` where its authority is none."""
        pod = self._pods.get(told.pod)
        if pod is None:
            pod = _Pod(told, self.folder)
        else:
            pod.change(told)
        self._unplace(pod)
        self._pods[told.pod] = pod
        self._by_address |= {str(ipaddress.ip_address(each)): pod for each in told.addresses}

    def forget(self, name: str) -> None:
        """Its connections end; nothing happens where it is unknown."""
        if (pod := self._pods.pop(name, None)) is not None:
            self._unplace(pod)
            for task in pod.tasks:
                task.cancel()

    def _unplace(self, pod: _Pod) -> None:
        self._by_address = {address: each for address, each in self._by_address.items() if each is not pod}

    # ------------------------------------------------------------------------------------- connections

    async def serve(self, listener: socket.socket) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, source = await loop.sock_accept(listener)
            except ConnectionAbortedError:
                continue
            pod = self._by_address.get(_plain(source[0]))
            if pod is None or len(pod.tasks) >= self._share or self._count >= self.limits.total:
                sock.close()
                continue
            task = asyncio.create_task(self._serve(pod, sock))
            pod.tasks.add(task)
            self._count += 1
            task.add_done_callback(partial(self._done, pod))

    @property
    def _share(self) -> int:
        """None of them takes another's place."""
        return min(self.limits.each, max(self.limits.total // len(self._pods), 1))

    def _done(self, pod: _Pod, task: asyncio.Task[None]) -> None:
        pod.tasks.discard(task)
        self._count -= 1

    async def _serve(self, pod: _Pod, sock: socket.socket) -> None:
        with contextlib.closing(sock), contextlib.suppress(*_BROKEN, asyncio.CancelledError):
            _settle(sock)
            await self._speak(pod, sock)

    async def _speak(self, pod: _Pod, sock: socket.socket) -> None:
        destination = _destination(sock)
        try:
            async with asyncio.timeout(self.timeouts.hello_s):
                begun, said = await _begun(sock)
        except hello.NotTls:
            await Plain(sock).write(_ALERT)
            return
        scheme = HTTP if said is None else HTTPS
        if not begun or (destination and destination[1] != rules.PORTS[scheme]):
            return  # TLS on the port for what is in clear, or the other way round
        client = Plain(sock, begun)
        if said is None:
            await Exchange(client, self._way(pod, HTTP, None)).serve()
            return
        name = said.server_name or (destination[0] if destination else "")
        try:
            host = rules.host_name(name)
            await self._secured(pod, client, host, begun)
        except Refused as refused:
            self._told(pod, "CONNECT", f"https://{name[: rules.NAME_MAX]}/", str(refused))
            await client.write(_ALERT)
            await streams.linger(client, self.timeouts.linger_s, self.timeouts.linger_bytes)

    async def _secured(self, pod: _Pod, client: Plain, host: str, begun: bytes) -> None:
        inside = rules.looks_inside(pod.rules(HTTPS), host)  # which says, too, whether it may at all
        if not inside and not pod.secrets(HTTPS, host):
            server = await self._dial(pod, HTTPS, host)
            with contextlib.closing(server):
                await relay(client, Plain(server), self.timeouts.silent_s)
            return
        if pod.authority is None:
            raise Refused("this pod has no authority for what is to be looked into")
        tls = Tls(client, pod.authority.context(host))
        async with asyncio.timeout(self.timeouts.hello_s):
            await tls.handshake()
        await Exchange(tls, self._way(pod, HTTPS, host)).serve()

    def _way(self, pod: _Pod, scheme: str, host: str | None) -> Way:
        return Way(
            scheme=scheme,
            host=host,
            decide=lambda host, method, path: rules.decide(pod.rules(scheme), host, method, path),
            secrets=lambda host: pod.secrets(scheme, host),
            connect=lambda host: self._connect(pod, scheme, host),
            refused=lambda method, url, reason: self._told(pod, method, url, reason),
            timeouts=self.timeouts,
        )

    def _told(self, pod: _Pod, method: str, url: str, reason: str) -> bytes:
        self.denied(Denied(pod.told.pod, method, url, reason))
        whose = f"policy {pod.told.policy}" if pod.told.policy else "what it was started with"
        return f"hyper: {reason}\nby {whose}: to let it out, add it there\n".encode()

    # ------------------------------------------------------------------------------------- servers

    async def _connect(self, pod: _Pod, scheme: str, host: str) -> Stream:
        plain = Plain(await self._dial(pod, scheme, host))
        if scheme == HTTP:
            return plain
        try:
            tls = Tls(plain, self.roots, host)
            await tls.handshake()
        except BaseException:
            plain.close()
            raise
        return tls

    async def _dial(self, pod: _Pod, scheme: str, host: str) -> socket.socket:
        error: OSError = OSError(None, "it has no address that may be reached")
        async with asyncio.timeout(self.timeouts.connect_s):
            for address in (await self._addresses(pod, host))[:ADDRESSES_MAX]:
                try:
                    async with asyncio.timeout(self.timeouts.address_s):
                        return await _connected(address, self.ports[scheme])
                except OSError as problem:  # of time too
                    error = problem
        raise error

    async def _addresses(self, pod: _Pod, host: str) -> Sequence[str]:
        if not rules.is_address(host):
            return await self.resolve(pod.told.pod, host)
        named = pod.told.private or rules.names_address(pod.told.rules, host)
        found = reach.reachable([host], named=named)
        if not found:
            raise Refused(f"{host} is no address that a pod may reach unless it is named")
        return found


async def _begun(sock: socket.socket) -> tuple[bytes, hello.Hello | None]:
    """What a client says first, and its hello where that is TLS."""
    loop, begun = asyncio.get_running_loop(), b""
    while data := await loop.sock_recv(sock, streams.CHUNK):
        begun += data
        if begun[0] != hello.HANDSHAKE:
            return begun, None
        if (found := hello.parse(begun)) is not None:
            return begun, found
    return b"", None


async def _connected(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        _settle(sock)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _settle(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _plain(address: str) -> str:
    """One form for each; IPv4's where it is that."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _destination(sock: socket.socket) -> tuple[str, int] | None:
    """Where it was led away from; None where it was not."""
    try:
        if sock.family == socket.AF_INET:
            port, packed = struct.unpack("!2xH4s8x", sock.getsockopt(socket.SOL_IP, _ORIGINAL4, 16))
        else:
            port, packed = struct.unpack("!2xH4x16s4x", sock.getsockopt(socket.IPPROTO_IPV6, _ORIGINAL6, 28))
    except OSError:
        return None
    address = str(ipaddress.ip_address(packed))
    return None if (address, port) == sock.getsockname()[:2] else (address, port)


def trusting(authorities: str) -> ssl.SSLContext:
    """To verify servers by these, PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    return context
