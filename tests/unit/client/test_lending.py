"""An SSH agent that is lent: channels, their ends, and their use anew."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from answering import Answering
from hypercontainer.client.lending import Lender
from hypercontainer.contract.frames import frame


def in_capitals(data: bytes) -> bytes:
    """The word "end" is answered with the end of the connection."""
    return b"" if data == b"end" else data.upper()


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
    side.sendall(frame(0, b"one") + frame(3, b"two"))
    got = read(side, 22)
    assert sorted((got[:11], got[11:])) == sorted((frame(0, b"ONE"), frame(3, b"TWO")))
    side.sendall(frame(0))  # it left; so the channel is free
    said(side, frame(0))
    side.sendall(frame(0, b"again"))
    said(side, frame(0, b"AGAIN"))


def test_the_agent_ends_first(side: socket.socket) -> None:
    side.sendall(frame(1, b"end"))
    said(side, frame(1))
    side.sendall(frame(1, b"late") + frame(1))  # of the one that has ended: said before its end was known
    side.sendall(frame(1, b"new"))
    said(side, frame(1, b"NEW"))


def test_no_agent(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    lender = threading.Thread(target=Lender(far, str(tmp_path / "nothing")).run)
    lender.start()
    near.sendall(frame(0, b"hello"))
    said(near, frame(0))
    near.close()
    lender.join(20)
    far.close()
