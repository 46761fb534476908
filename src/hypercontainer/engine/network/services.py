"""Services: a stable name and port in front of pods, on a machine where each pod has a network of its own.

A service listens on the host's loopback address, which pods reach through their gateway, and hands each connection to
the next pod that has its labels and is ready; while there is none, connections are refused.  The pods publish the
service's ports on the loopback address too, on ports of the system's choice.  hyperd carries the bytes: where it ends,
connections end; the next one listens again.

Whoever reaches a service's port can hold connections of it, so these are bounded, of one service and of all together,
and all of them have to do with a quarter of hyperd's descriptors.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.crowd import Crowd
from hypercontainer.engine.network.doors import Door, refuse
from hypercontainer.engine.state import ServiceEnd, ServiceRecord, StateStore
from hypercontainer.errors import HyperError
from hypercontainer.linux import descriptors

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a NodePort is
CHUNK_BYTES = 64 * 1024
CONNECT_S = 10.0
HALF_CLOSED_S = 300.0  # without a byte, of a connection that one side has ended
FLUSH_S = 10.0  # for the last bytes, of one that both have
MAX_CONNECTIONS = 1024  # of one service
DESCRIPTORS = 2  # of a connection
DESCRIPTORS_SHARE = 1 / 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """A pod, as services see it."""

    labels: Mapping[str, str]
    ready: bool
    published: tuple[PortMapping, ...]


class Services:
    """Owner of the listening sockets and of the connections that they took.  ``endpoints``: all pods as they are;
    ``look`` is to be called when they have changed.  ``offer`` is told of all ports of the loopback address."""

    def __init__(
        self,
        state: StateStore,
        endpoints: Callable[[], Iterable[Endpoint]],
        offer: Callable[[frozenset[int]], None] = lambda ports: None,
    ) -> None:
        self._state = state
        self._offer = offer
        self._endpoints = endpoints
        self._doors: dict[str, dict[ServiceEnd, list[Door]]] = {}
        self._records: dict[str, ServiceRecord] = {}
        self._connections: dict[asyncio.Task[None], tuple[str, int]] = {}  # whose, and the pod's port
        self._crowd = Crowd()
        self._looking: asyncio.Handle | None = None
        self._full: set[str] = set()  # services that were told to be

    async def open(self) -> None:
        for record in self._state.services():
            self._records[record.name] = record
            try:
                self._make(record)
            except HyperError as error:
                log.error("service %s: %s", record.name, error)

    async def put(self, record: ServiceRecord) -> None:
        """Makes it, in place of one of its name.  Unavailable, which names the port, where one is taken."""
        self._unmake(record.name)
        try:
            self._make(record)
        except BaseException:
            if (former := self._records.get(record.name)) is not None:
                with contextlib.suppress(HyperError):
                    self._make(former)
            raise
        self._records[record.name] = record
        self._state.put_service(record)

    async def remove(self, name: str) -> bool:
        """Whether there was one."""
        self._unmake(name)
        self._state.remove_service(name)
        return self._records.pop(name, None) is not None

    def get(self, name: str) -> ServiceRecord | None:
        return self._records.get(name)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for name in tuple(self._doors):
            self._unmake(name)
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # ------------------------------------------------------------------------------------- doors

    def look(self) -> None:
        """Soon, once for all that has changed by then."""
        if self._looking is None and (self._doors or self._connections):
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = None
        pods = list(self._endpoints())
        for name in self._doors:
            self._set_doors(self._records[name], pods)
        there = {port.host_port for pod in pods for port in pod.published}
        for task, (_, port) in self._connections.items():
            if port not in there:
                task.cancel()

    def _set_doors(self, record: ServiceRecord, pods: Iterable[Endpoint]) -> None:
        for end, doors in self._doors[record.name].items():
            wanted = any(_port(record, end, pod) for pod in pods)
            for door in doors:
                try:
                    door.set_open(wanted)
                except HyperError as error:
                    log.error("%s", error)

    def _unmake(self, name: str) -> None:
        for doors in self._doors.pop(name, {}).values():
            for door in doors:
                door.close()
        self._tell()

    def _tell(self) -> None:
        self._offer(frozenset(end.port for ends in self._doors.values() for end in ends))

    def _make(self, record: ServiceRecord) -> None:
        made: dict[ServiceEnd, list[Door]] = {}
        try:
            for end in record.ends:
                doors = made.setdefault(end, [])
                # Where both are the same, everywhere is on the loopback address too.
                places = {end.port: LOOPBACK, **({end.node_port: EVERYWHERE} if end.node_port else {})}
                for port, host in places.items():
                    # Each takes its own turns: of shared ones, who asks two services would find the same pods.
                    arrived = partial(self._arrived, record, end, itertools.count())
                    doors.append(Door(f"service {record.name}", host, port, arrived))
        except BaseException:
            for door in itertools.chain(*made.values()):
                door.close()
            raise
        self._doors[record.name] = made
        self._tell()
        self._set_doors(record, list(self._endpoints()))

    # ------------------------------------------------------------------------------------- connections

    def _arrived(
        self, record: ServiceRecord, end: ServiceEnd, turns: Iterator[int], connection: socket.socket
    ) -> None:
        ports = [port for pod in self._endpoints() if (port := _port(record, end, pod))]
        if not ports or not self._has_room(record.name):
            refuse(connection)
            return
        port = ports[next(turns) % len(ports)]
        task = asyncio.create_task(self._serve(record, connection, port), name=f"service {record.name}")
        self._connections[task] = record.name, port
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        self._crowd.left(len(self._connections))

    def _has_room(self, name: str) -> bool:
        own = sum(each == name for each, _ in self._connections.values())
        all_together = descriptors.share(DESCRIPTORS_SHARE) // DESCRIPTORS
        full = own >= MAX_CONNECTIONS or len(self._connections) >= all_together
        if full and name not in self._full:
            log.warning(
                "service %s refuses connections: %d are open, %d of all services",
                name,
                own,
                len(self._connections),
            )
        (self._full.add if full else self._full.discard)(name)
        return not full

    async def _serve(self, record: ServiceRecord, connection: socket.socket, port: int) -> None:
        try:
            near = await _streams(connection)
        except OSError:
            connection.close()
            return
        try:
            async with asyncio.timeout(CONNECT_S):
                far = await asyncio.open_connection(LOOPBACK, port, limit=CHUNK_BYTES)
        except (OSError, TimeoutError) as error:
            log.info("service %s: %s", record.name, error)
            near[1].transport.abort()
            return
        except asyncio.CancelledError:
            near[1].transport.abort()
            raise
        try:
            await _carry(near, far)
        except (OSError, TimeoutError) as error:
            log.info("service %s: %s", record.name, error)
        finally:
            for _, writer in (near, far):
                writer.transport.abort()


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _streams(connection: socket.socket) -> _Streams:
    return await asyncio.open_connection(sock=connection, limit=CHUNK_BYTES)


async def _carry(near: _Streams, far: _Streams) -> None:
    """Until both sides have ended, or one has and the other says nothing more."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as quiet:

        async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
                await writer.drain()
                if quiet.when() is not None:
                    quiet.reschedule(loop.time() + HALF_CLOSED_S)
            writer.write_eof()
            quiet.reschedule(loop.time() + HALF_CLOSED_S)

        ways = [asyncio.create_task(copy(near[0], far[1])), asyncio.create_task(copy(far[0], near[1]))]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    async with asyncio.timeout(FLUSH_S):
        for _, writer in (near, far):
            writer.close()
            await writer.wait_closed()


def selects(record: ServiceRecord, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in record.selector.items())


def _port(record: ServiceRecord, end: ServiceEnd, pod: Endpoint) -> int | None:
    """The host's port that leads to this pod, if it is one to be chosen."""
    if not pod.ready or not selects(record, pod.labels):
        return None
    for port in pod.published:
        if port.container_port == end.container_port and port.protocol == "tcp":
            return port.host_port
    return None
