"""A service's port is its own while its door is shut, and whoever else wants it is told at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from free_port import free_port
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import ports
from hypercontainer.engine.network.doors import Door
from hypercontainer.errors import Conflict, Unavailable

HOST = "127.0.0.1"


@contextlib.contextmanager
def door(port: int) -> Iterator[Door]:
    made = Door("service web", HOST, port, lambda connection: connection.close())
    try:
        yield made
    finally:
        made.close()


def take(port: int) -> None:
    """As servers do."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen()


async def use(port: int) -> None:
    """A connection that the door's side ends first, so that its end stays for a while."""
    reader, writer = await asyncio.open_connection(HOST, port)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_nobody_takes_the_port_of_a_shut_door() -> None:
    async def story() -> None:
        with door(port := free_port()) as one:
            for _ in range(2):  # before it was open, and after
                with pytest.raises(OSError, match="in use"):
                    take(port)
                with pytest.raises(Conflict):
                    ports.choose([PortMapping(80, port, HOST)])
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(HOST, port)
                one.set_open(True)
                await use(port)
                one.set_open(False)

    asyncio.run(story())


def test_two_do_not_share_a_port() -> None:
    """Which the kernel would let one user do."""

    async def story() -> None:
        with door(port := free_port()) as one:
            for wanted in (False, True):
                one.set_open(wanted)
                with pytest.raises(Unavailable, match=f"port {port} of {HOST}"), door(port):
                    pass

    asyncio.run(story())


def test_former_connections_do_not_keep_it() -> None:
    async def story() -> None:
        port = free_port()
        for _ in range(2):
            with door(port) as one:
                one.set_open(True)
                await use(port)
        take(port)

    asyncio.run(story())
