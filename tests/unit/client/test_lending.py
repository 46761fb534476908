"""An SSH agent that is lent: channels, their ends, and their use anew."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from answering import Answering
from hypercontainer.client.lending import Lender
from hypercontainer.contract.lent import WINDOW_BYTES, credit, data, gone


def in_capitals(said: bytes) -> bytes:
    """The word "end" is answered with the end of the connection."""
    return b"" if said == b"end" else said.upper()


@pytest.fixture
def side(tmp_path: Path) -> Iterator[socket.socket]:
    agent = Answering(tmp_path / "agent", in_capitals)
    near, far = socket.socketpair()
    lender = threading.Thread(target=Lender(far, str(tmp_path / "agent")).run)
    lender.start()
    near.settimeout(20)
    yield near
    near.close()
    lender.join(20)
    assert not lender.is_alive()
    far.close()
    agent.close()


def read(side: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += side.recv(count - len(got))
    return got


def said(side: socket.socket, wanted: bytes) -> None:
    assert read(side, len(wanted)) == wanted


def test_two_at_once_and_one_after_the_other(side: socket.socket) -> None:
    side.sendall(data(0, b"one") + data(3, b"two"))
    said(side, credit(0, 3) + credit(3, 3))
    got = read(side, 22)
    assert sorted((got[:11], got[11:])) == sorted((data(0, b"ONE"), data(3, b"TWO")))
    side.sendall(gone(0))
    said(side, gone(0))  # so the channel is free
    side.sendall(data(0, b"again"))
    said(side, credit(0, 5) + data(0, b"AGAIN"))


def test_one_direction_ends_and_the_other_goes_on(side: socket.socket) -> None:
    side.sendall(data(1, b"last words") + data(1))
    said(side, credit(1, 10) + data(1, b"LAST WORDS") + data(1) + gone(1))


def test_the_agent_ends_first(side: socket.socket) -> None:
    side.sendall(data(1, b"end"))
    said(side, credit(1, 3) + data(1))
    side.sendall(data(1))
    said(side, gone(1))
    side.sendall(data(1, b"late") + gone(1))  # of the one that has ended: said before that was known
    side.sendall(data(1, b"new"))
    said(side, credit(1, 3) + data(1, b"NEW"))


def test_what_has_no_credit_waits(side: socket.socket) -> None:
    for _ in range(2):
        side.sendall(data(2, b"x" * 30000))
    got = b""
    while got.count(b"X") < WINDOW_BYTES:
        got += side.recv(65536)
    assert got.count(b"X") == WINDOW_BYTES
    side.sendall(credit(2, WINDOW_BYTES))
    while got.count(b"X") < 60000:
        got += side.recv(65536)


def test_no_agent(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    lender = threading.Thread(target=Lender(far, str(tmp_path / "nothing")).run)
    lender.start()
    near.sendall(data(0, b"hello"))
    said(near, gone(0))
    near.close()
    lender.join(20)
    far.close()
