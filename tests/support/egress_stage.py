"""A proxy for the way out, on this machine's loopback addresses, with servers of its own and clients that are pods."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypercontainer.network.egress import authority, rules
from hypercontainer.network.egress.authority import Authority, Pair
from hypercontainer.network.egress.exchange import Timeouts
from hypercontainer.network.egress.proxy import Limits, Proxy, trusting
from hypercontainer.network.egress.rules import Refused
from hypercontainer.network.egress.wire import Denied, Tell

POD, SERVER = "127.0.0.21", "127.0.0.22"
ANSWER_S = 10.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Stage:
    """``names``: hosts that are there, at ``SERVER``.  ``world``: the authority of its servers' certificates."""

    proxy: Proxy
    port: int
    world: Pair
    own: Pair
    folder: Path
    denied: list[Denied]
    names: set[str] = field(default_factory=set)
    resolved: list[str] = field(default_factory=list)

    def tell(self, told: Tell) -> None:
        self.proxy.tell(replace_addresses(told, self.own))

    @contextlib.asynccontextmanager
    async def server(self, serve: Serve, *hosts: str, tls: bool = True) -> AsyncIterator[None]:
        """One that answers for these hosts, with a certificate for the first."""
        self.names |= set(hosts)
        context = Authority(self.world, self.folder).context(hosts[0]) if tls else None
        made = await asyncio.start_server(serve, SERVER, 0, ssl=context)
        self.proxy.ports["https" if tls else "http"] = made.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            made.close()

    async def plain(self, source: str = POD) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))

    async def tls(
        self, host: str, trust: Pair | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = trusting((trust or self.own).certificate)
        return await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(POD, 0), ssl=context, server_hostname=host
        )


def replace_addresses(told: Tell, own: Pair) -> Tell:
    import msgspec

    return msgspec.structs.replace(told, addresses=(POD,), certificate=own.certificate, key=own.key)


@contextlib.asynccontextmanager
async def stage(
    folder: Path, *, limits: Limits | None = None, timeouts: Timeouts | None = None
) -> AsyncIterator[Stage]:
    world, own = authority.make("the world"), authority.make("pod")
    denied: list[Denied] = []

    async def resolve(pod: str, host: str) -> Sequence[str]:
        made.resolved.append(host)
        if host not in made.names:
            raise Refused(f"there is no {host}")
        return (SERVER,)

    proxy = Proxy(
        resolve,
        denied.append,
        trusting(world.certificate),
        folder,
        limits or Limits(),
        replace(timeouts or Timeouts(), linger_s=0.2),
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.setblocking(False)
    made = Stage(proxy, listener.getsockname()[1], world, own, folder, denied)
    task = asyncio.create_task(proxy.serve(listener))
    try:
        yield made
    finally:
        task.cancel()
        for pod in list(proxy._pods):
            proxy.forget(pod)
        await asyncio.gather(task, return_exceptions=True)
        listener.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body: of an answer that says its length, or ends."""
    async with asyncio.timeout(ANSWER_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readexactly(2)
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        else:
            body = b""
        return int(first.split()[1]), headers, body


__all__ = ["POD", "SERVER", "Stage", "answer", "rules", "stage"]
