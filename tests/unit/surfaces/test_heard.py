"""When a client has read what it was sent, asked of the kernel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from hypercontainer.surfaces.http import heard as module
from hypercontainer.surfaces.http.heard import heard


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_what_is_read_in_pieces_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    async def test() -> None:
        _, writer = await asyncio.open_connection(sock=pair[0])
        await heard(writer)  # nothing was written
        for piece in (b"head", b"more"):
            writer.write(piece)
        waiting = asyncio.create_task(heard(writer))
        for piece in (b"head", b"more"):
            done, _ = await asyncio.wait([waiting], timeout=0.05)
            assert not done
            assert pair[1].recv(4) == piece
        await asyncio.wait_for(waiting, module.UNREAD_S / 2)
        writer.close()

    asyncio.run(test())


def test_who_goes_is_not_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    async def test() -> None:
        _, writer = await asyncio.open_connection(sock=pair[0])
        writer.write(b"head")
        waiting = asyncio.create_task(heard(writer))
        await asyncio.sleep(0)
        pair[1].close()
        await asyncio.wait_for(waiting, module.UNREAD_S / 2)
        writer.close()

    asyncio.run(test())


def test_who_does_not_read_is_waited_for_so_long_and_no_longer(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UNREAD_S", 0.01)

    async def test() -> None:
        _, writer = await asyncio.open_connection(sock=pair[0])
        writer.write(b"head")
        await heard(writer)
        writer.close()

    asyncio.run(test())
