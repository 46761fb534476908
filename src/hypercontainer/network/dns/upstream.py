"""Asks name servers what guests want to know of the world.

Each server is asked from a fresh port that the kernel draws, with a fresh id, and only its own answer to that very
question counts; a server on whose behalf others guess is given up.  Who asks what is being asked already waits for the
same answer.  Everything is bounded: how much at a time and a second, of one guest and of all, how long a server may
take, what is kept.  Every question gets an answer, from here where from nobody else, until `close`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
import socket
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hypercontainer.linux.waiting import ended
from hypercontainer.network.dns import records
from hypercontainer.network.dns.cache import Cache
from hypercontainer.network.dns.fairness import Buckets, Places, Rate
from hypercontainer.network.dns.host_servers import MAX_SERVERS, HostServers
from hypercontainer.network.dns.message import HEADER, MAX_ANSWER, Query, Rcode, forwarded, reply
from hypercontainer.network.dns.zone import Address

MAX_STRAYS = 32  # that reach a port and are no answer: somebody guesses
MAX_SILENT = 64  # servers that are remembered as such
_RATE = Rate(per_second=200, burst=400)
_FAILURES = (Rcode.SERVFAIL, Rcode.REFUSED)  # another server may know more

log = logging.getLogger(__name__)

Answered = Callable[[bytes], None]


@dataclass(frozen=True)
class Limits:
    """``server_s``: for each server, with all that it takes.  One that did not answer is asked after the others for
    ``silent_s``."""

    outstanding: int = 1024
    outstanding_each: int = 64
    rate_each: Rate = _RATE
    server_s: float = 2.0
    silent_s: float = 30.0


class _Waiter(NamedTuple):
    asker: Hashable
    query: Query
    answered: Answered


@dataclass
class _Flight:
    task: asyncio.Task[bytes | None]
    waiting: list[_Waiter] = field(default_factory=list)


class _Key(NamedTuple):
    servers: tuple[Address, ...]
    message: bytes


class Upstream:
    """Of one event loop.  ``servers``: those of the host, told at once."""

    def __init__(
        self,
        servers: Callable[[], Sequence[Address]] | None = None,
        *,
        limits: Limits | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers or HostServers()
        self._limits = limits or Limits()
        self._now = now
        self._cache = Cache(now)
        self._buckets = Buckets(self._limits.rate_each, now)
        self._places = Places(self._limits.outstanding, self._limits.outstanding_each)
        self._flights: dict[_Key, _Flight] = {}
        self._silent: dict[Address, float] = {}  # until when

    def ask(
        self, asker: Hashable, query: Query, servers: Sequence[Address] | None, answered: Answered
    ) -> None:
        """``answered`` is called once, now or later, with an answer of any length.  ``servers``: None for the
        host's."""
        known = self._servers() if servers is None else servers
        key = _Key(tuple(known[:MAX_SERVERS]), forwarded(query))
        kept = self._cache.get(key)
        if kept is not None:
            answered(records.for_asker(kept, query))
        elif not key.servers or self._places.full:
            answered(reply(query, rcode=Rcode.SERVFAIL))
        elif not self._buckets.take(asker) or not self._places.take(asker):
            answered(reply(query, rcode=Rcode.REFUSED))
        else:
            self._flight(key, len(query.question)).waiting.append(_Waiter(asker, query, answered))

    async def close(self) -> None:
        """Who still waits is not answered."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            await ended(task)

    def _flight(self, key: _Key, question: int) -> _Flight:
        flight = self._flights.get(key)
        if flight is None:
            task = asyncio.get_running_loop().create_task(self._fly(key, question))
            flight = self._flights[key] = _Flight(task)
            task.add_done_callback(functools.partial(self._landed, key))
        return flight

    def _landed(self, key: _Key, task: asyncio.Task[bytes | None]) -> None:
        flight = self._flights.pop(key)
        for waiter in flight.waiting:
            self._places.leave(waiter.asker)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("a name server's answer: %r", error, exc_info=error)
        answer = None if error is not None else task.result()
        for waiter in flight.waiting:
            if answer is None:
                waiter.answered(reply(waiter.query, rcode=Rcode.SERVFAIL))
            else:
                waiter.answered(records.for_asker(answer, waiter.query))

    async def _fly(self, key: _Key, question: int) -> bytes | None:
        """What the first server says that knows anything; else what one of them says."""
        second_best = None
        for server in self._in_order(key.servers):
            answer = await self._ask_one(server, key.message, question)
            if answer is None:
                continue
            if records.rcode_of(answer) not in _FAILURES and not records.is_cut(answer):
                self._cache.keep(key, answer, question)
                return answer
            second_best = answer
        return second_best

    def _in_order(self, servers: Sequence[Address]) -> list[Address]:
        now = self._now()
        return sorted(servers, key=lambda server: self._silent.get(server, now) > now)

    async def _ask_one(self, server: Address, message: bytes, question: int) -> bytes | None:
        answer = None
        try:
            async with asyncio.timeout(self._limits.server_s):
                answer = await _by_udp(server, message, question)
                if answer is not None and records.is_cut(answer):
                    answer = await _by_tcp(server, message, question) or answer
        except OSError as error:  # of time too
            log.debug("name server %s: %r", server[0], error)
        if answer is None:
            if len(self._silent) >= MAX_SILENT:
                del self._silent[next(iter(self._silent))]
            self._silent[server] = self._now() + self._limits.silent_s
        else:
            self._silent.pop(server, None)
        return answer


def _family(server: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET


def _with_id(message: bytes) -> tuple[int, bytes]:
    id_ = secrets.randbits(16)
    return id_, id_.to_bytes(2, "big") + message


async def _by_udp(server: Address, message: bytes, question: int) -> bytes | None:
    """None where it sends nothing but strays.  A socket that is connected hears that server alone."""
    loop = asyncio.get_running_loop()
    id_, asked = _with_id(message)
    with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.connect(server)
        sock.send(asked)
        for _ in range(MAX_STRAYS):
            answer = await loop.sock_recv(sock, MAX_ANSWER)
            if records.fits(answer, id_, asked[HEADER.size : HEADER.size + question]):
                return answer
    return None


async def _by_tcp(server: Address, message: bytes, question: int) -> bytes | None:
    loop = asyncio.get_running_loop()
    id_, asked = _with_id(message)
    with socket.socket(_family(server), socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        await loop.sock_connect(sock, server)
        await loop.sock_sendall(sock, len(asked).to_bytes(2, "big") + asked)
        length = int.from_bytes(await _exactly(sock, 2), "big")
        answer = await _exactly(sock, length)
    return answer if records.fits(answer, id_, asked[HEADER.size : HEADER.size + question]) else None


async def _exactly(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = bytearray()
    while len(got) < count:
        more = await loop.sock_recv(sock, count - len(got))
        if not more:
            raise ConnectionAbortedError
        got += more
    return bytes(got)
