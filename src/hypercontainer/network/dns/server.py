"""Serves names on sockets that were made elsewhere, in the namespaces of networks.

Questions are taken in batches, so that the loop has its turn under a flood.  What we know ourselves, or know still, is
answered in the same turn; only what name servers are asked has a task.  Errors of a socket end neither the server nor
the socket's service: what cannot be sent is lost, as datagrams are.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hypercontainer.network.dns.answering import Answering
from hypercontainer.network.dns.connections import Connections, TcpLimits
from hypercontainer.network.dns.datagrams import Datagrams, prepare
from hypercontainer.network.dns.fairness import Buckets, Places, Rate
from hypercontainer.network.dns.gate import Gate
from hypercontainer.network.dns.taking import Taking
from hypercontainer.network.dns.upstream import Upstream
from hypercontainer.network.dns.zone import Zone

_RATE = Rate(per_second=4000, burst=8000)


@dataclass(frozen=True)
class ServerLimits:
    """``rate_each``: questions of any kind of one guest; who asks more is shut out for a while."""

    rate_each: Rate = _RATE
    tcp: TcpLimits = field(default_factory=TcpLimits)


@dataclass(frozen=True)
class _Site:
    """What is served of one network."""

    gate: Gate
    datagrams: Taking
    listener: Taking
    connections: Connections

    def close(self) -> None:
        self.gate.close()
        self.datagrams.close()
        self.listener.close()
        self.connections.close()


class Server:
    """Of one event loop; owns ``upstream`` and the sockets it serves."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        limits: ServerLimits | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._limits = limits or ServerLimits()
        self._buckets = Buckets(self._limits.rate_each, now)
        tcp = self._limits.tcp
        self._places = Places(tcp.connections, tcp.connections_each)
        self._sites: dict[socket.socket, _Site] = {}

    def serve(self, udp: socket.socket, tcp: socket.socket, zone: Zone) -> None:
        """``udp`` is bound, ``tcp`` listens; both are the server's from now on.  Until `stop` or `close`."""
        prepare(udp)
        tcp.setblocking(False)
        gate = Gate(udp, tcp)
        answering = Answering(zone, self._upstream, self._buckets)
        connections = Connections(answering, gate, self._places, self._limits.tcp)
        self._sites[udp] = _Site(
            gate,
            Taking(udp, Datagrams(answering, gate).take),
            Taking(tcp, connections.take),
            connections,
        )

    def stop(self, udp: socket.socket) -> None:
        """Closes it, its listener and the connections that came there."""
        self._sites.pop(udp).close()

    async def close(self) -> None:
        while self._sites:
            self.stop(next(iter(self._sites)))
        await self._upstream.close()
