"""Connections that hyperd makes to itself, for a user who is known: what they may do and how many there may be."""

from __future__ import annotations

import asyncio
import socket

from hypercontainer.errors import HyperError
from hypercontainer.surfaces.http.answers import Reply
from hypercontainer.surfaces.http.connection import Limits
from hypercontainer.surfaces.http.server import Request, Server, Work
from hypercontainer.surfaces.http.tls import Who

HEAD = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class Asked:
    """Says who asks."""

    def accept(self, request: Request) -> Work:
        async def do(body: bytes) -> Reply:
            return Reply(200, (), f"{request.peer_uid} {request.who.role}".encode())

        return Work(do)

    def refuse(self, error: Exception) -> Reply:
        return Reply(error.status if isinstance(error, HyperError) else 500)


async def ask(near: socket.socket) -> tuple[bytes, bytes]:
    """The status and the body; the connection stays."""
    loop = asyncio.get_running_loop()
    near.setblocking(False)
    await loop.sock_sendall(near, HEAD)
    said = b""
    while b"\r\n\r\n" not in said or not said.partition(b"\r\n\r\n")[2]:
        if not (more := await loop.sock_recv(near, 4096)):
            break
        said += more
    head, _, body = said.partition(b"\r\n\r\n")
    return head[9:12], body


def test_whose_they_are_and_how_many() -> None:
    async def within() -> None:
        server = Server(Asked(), limits=Limits(connections=17))
        nears = [await server.connect(Who(54321)) for _ in range(4)]
        for near in nears:
            assert await ask(near) == (b"200", b"54321 admin")
        busy = await server.connect(Who(54321))  # one that waits makes room
        assert await ask(busy) == (b"200", b"54321 admin")
        other = await server.connect(Who(54322))
        assert await ask(other) == (b"200", b"54322 admin")
        assert await asyncio.get_running_loop().sock_recv(nears[0], 1) == b""
        await server.close(deadline_s=0.05)
        for near in (*nears, busy, other):
            near.close()

    asyncio.run(asyncio.wait_for(within(), 20))


def test_one_that_is_given_after_the_end_is_none() -> None:
    async def within() -> None:
        server = Server(Asked())
        await server.close()
        near = await server.connect(Who(1))
        near.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(near, 1) == b""
        near.close()

    asyncio.run(asyncio.wait_for(within(), 20))
