"""Services: a stable name and port in front of pods, on a machine where each pod has a network of its own.

A service listens on the host's loopback address, which pods reach through their gateway, and hands each connection to
the next pod that has its labels and is ready.  The pods publish the service's ports on the loopback address too, on
ports of the system's choice.  hyperd carries the bytes: where it ends, connections end; the next one listens again.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.state import ServiceEnd, ServiceRecord, StateStore
from hypercontainer.errors import HyperError, Unavailable

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what a NodePort is
CHUNK_BYTES = 64 * 1024
CONNECT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """A pod, as services see it."""

    labels: Mapping[str, str]
    ready: bool
    published: tuple[PortMapping, ...]


class Services:
    """Owner of the listening sockets and of the connections that they took.  ``endpoints``: all pods as they are."""

    def __init__(self, state: StateStore, endpoints: Callable[[], Iterable[Endpoint]]) -> None:
        self._state = state
        self._endpoints = endpoints
        self._listeners: dict[str, list[asyncio.Server]] = {}
        self._records: dict[str, ServiceRecord] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        for record in self._state.services():
            self._records[record.name] = record
            try:
                await self._listen(record)
            except HyperError as error:
                log.error("service %s: %s", record.name, error)

    async def put(self, record: ServiceRecord) -> None:
        """Makes it, in place of one of its name.  Unavailable, which names the port, where one is taken."""
        await self._silence(record.name)
        try:
            await self._listen(record)
        except BaseException:
            if (former := self._records.get(record.name)) is not None:
                with contextlib.suppress(HyperError):
                    await self._listen(former)
            raise
        self._records[record.name] = record
        self._state.put_service(record)

    async def remove(self, name: str) -> bool:
        """Whether there was one."""
        await self._silence(name)
        self._state.remove_service(name)
        return self._records.pop(name, None) is not None

    def get(self, name: str) -> ServiceRecord | None:
        return self._records.get(name)

    async def close(self) -> None:
        for name in tuple(self._listeners):
            await self._silence(name)
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _silence(self, name: str) -> None:
        for server in self._listeners.pop(name, []):
            server.close()

    async def _listen(self, record: ServiceRecord) -> None:
        servers: list[asyncio.Server] = []
        try:
            for end in record.ends:
                servers.append(await self._server(record, end, LOOPBACK, end.port))
                if end.node_port:
                    servers.append(await self._server(record, end, EVERYWHERE, end.node_port))
        except BaseException:
            for server in servers:
                server.close()
            raise
        self._listeners[record.name] = servers

    async def _server(self, record: ServiceRecord, end: ServiceEnd, host: str, port: int) -> asyncio.Server:
        turns = (
            itertools.count()
        )  # this port's: of shared ones, who asks two services would find the same pods

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                await self._carry(record, end, next(turns), (reader, writer))
            except (OSError, TimeoutError) as error:
                log.info("service %s: %s", record.name, error)
            finally:
                self._connections.discard(task)
                writer.close()

        try:
            return await asyncio.start_server(connected, host, port)
        except OSError as error:
            raise Unavailable(
                f"service {record.name}: port {port} of {host}: {error.strerror}",
                hint="is it taken? a service's port is one of the host's loopback address",
            ) from error

    async def _carry(
        self,
        record: ServiceRecord,
        end: ServiceEnd,
        turn: int,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        ports = [port for pod in self._endpoints() if (port := _port(record, end, pod))]
        if not ports:
            return  # as from a port that nobody listens on
        port = ports[turn % len(ports)]
        async with asyncio.timeout(CONNECT_S):
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            await asyncio.gather(_copy(near[0], far_writer), _copy(far_reader, near[1]))
        finally:
            far_writer.close()


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


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
