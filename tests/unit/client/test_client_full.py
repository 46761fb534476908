"""Clients of a hyperd that has not taken those before them yet."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.client import http
from hypercontainer.sdk import transport


@pytest.fixture
def full(tmp_path: Path) -> Iterator[socket.socket]:
    """A listener with as many in its queue as it has room for."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(tmp_path / "sock"))
        listener.listen(0)
        while True:
            each = stack.enter_context(socket.socket(socket.AF_UNIX))
            each.setblocking(False)
            try:
                each.connect(listener.getsockname())
            except BlockingIOError:
                break
        yield listener


def _takes(listener: socket.socket, wanted: int) -> threading.Thread:
    """Takes those in the queue, and says a word to the one behind them."""

    def take() -> None:
        for _ in range(wanted):
            listener.accept()[0].close()
        with listener.accept()[0] as last:
            last.sendall(b"taken")

    thread = threading.Thread(target=take)
    thread.start()
    return thread


def test_the_command_line_waits_for_its_turn(full: socket.socket) -> None:
    thread = _takes(full, 1)
    with contextlib.closing(http.connect(full.getsockname())) as sock:
        assert sock.recv(16) == b"taken"
        assert sock.gettimeout() == http.CONNECT_TIMEOUT_S
    thread.join()


def test_so_does_the_sdk(full: socket.socket) -> None:
    async def story() -> bytes:
        with await transport._connected(full.getsockname()) as sock:
            return await asyncio.get_running_loop().sock_recv(sock, 16)

    thread = _takes(full, 1)
    assert asyncio.run(story()) == b"taken"
    thread.join()


def test_not_for_ever(full: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 1)
    with pytest.raises(TimeoutError, match="too many wait for it"):
        http.connect(full.getsockname())
