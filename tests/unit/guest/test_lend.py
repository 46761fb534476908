"""``hyper-lend`` on a directory of the host's: its frames, and what its connections see."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.contract.lent import CHANNELS, WINDOW_BYTES, LentReader, credit, data, gone

Frame = tuple[int, int, int, bytes]


class Lending:
    """The program, at /socket of ``root``."""

    def __init__(self, program: Path, root: Path) -> None:
        self.path = root / "socket"
        argv = [str(program), str(root), "hyper-lend", "/socket"]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        assert self.process.stderr is not None
        assert self.process.stderr.readline() == b"listening\n"
        self._frames = LentReader(AssertionError)
        self._read: list[Frame] = []

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(20)
        made.connect(str(self.path))
        return made

    def say(self, frames: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(frames)

    def hear(self) -> bytes:
        """The next frame, as it is made."""
        assert self.process.stdout is not None
        while not self._read:
            received = self.process.stdout.read(65536)
            assert received
            self._read += self._frames.feed(received)
        channel, kind, number, payload = self._read.pop(0)
        return (data(channel, payload), credit(channel, number), gone(channel))[kind]

    def close(self) -> None:
        """What it still says is read, so that it ends by itself."""
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0


@pytest.fixture
def lending(program: Path, tmp_path: Path) -> Iterator[Lending]:
    made = Lending(program, tmp_path)
    yield made
    made.close()


def read(connection: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = connection.recv(count - len(got))
        assert more
        got += more
    return got


def test_each_direction_ends_by_itself(lending: Lending) -> None:
    assert lending.path.stat().st_mode & 0o777 == 0o600
    with lending.connect() as one:
        one.sendall(b"question")
        assert lending.hear() == data(0, b"question")
        one.shutdown(socket.SHUT_WR)
        assert lending.hear() == data(0)
        lending.say(data(0, b"answer") + data(0))
        assert read(one, 6) == b"answer"
        assert one.recv(1) == b""
        assert lending.hear() == gone(0)
    with lending.connect() as two, lending.connect() as three:
        two.sendall(b"2")
        assert lending.hear() == data(1, b"2")  # the other has not been said to be gone
        three.sendall(b"3")
        assert lending.hear() == data(2, b"3")


def test_who_hangs_up_is_gone(lending: Lending) -> None:
    with lending.connect() as one:
        one.sendall(b"follow")
        assert lending.hear() == data(0, b"follow")
    assert [lending.hear(), lending.hear()] == [data(0), gone(0)]
    lending.say(data(0, b"said before that was known") + credit(0, 6) + gone(0))
    with lending.connect() as one:
        one.sendall(b"again")
        channel = lending.hear()[0]
        lending.say(gone(channel))  # the other side breaks it off
        assert lending.hear() == gone(channel)
        assert one.recv(1) == b""


def test_who_takes_nothing_holds_up_nobody(lending: Lending) -> None:
    with lending.connect() as stuck, lending.connect() as other:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        stuck.sendall(b"s")
        assert lending.hear() == data(0, b"s")
        other.sendall(b"o")
        assert lending.hear() == data(1, b"o")
        sent = 0
        while True:  # until what is between them is full, and a window of it is kept
            lending.say(data(0, b"x" * (WINDOW_BYTES // 2)))
            sent += WINDOW_BYTES // 2
            lending.say(data(1, b"y"))
            assert read(other, 1) == b"y"
            if not _credited(lending, other, sent):
                break
        assert read(stuck, sent) == b"x" * sent


def _credited(lending: Lending, other: socket.socket, sent: int) -> bool:
    """Whether the first connection has taken the last piece: told before the other's next word."""
    other.sendall(b"o")
    heard = lending.hear()
    if heard == data(1, b"o"):
        return False
    assert lending.hear() == data(1, b"o")
    lending.say(credit(1, 1))
    return heard == credit(0, WINDOW_BYTES // 2)


def test_what_has_no_credit_waits(lending: Lending) -> None:
    with lending.connect() as one, lending.connect() as other:
        one.sendall(b"x" * (WINDOW_BYTES + 5))
        heard = 0
        while heard < WINDOW_BYTES:
            heard += len(lending.hear()) - 8
        other.sendall(b"o")
        assert lending.hear() == data(1, b"o")
        lending.say(credit(0, 5))
        assert lending.hear() == data(0, b"xxxxx")


def test_as_many_as_there_are_channels(lending: Lending) -> None:
    connections = [lending.connect() for _ in range(CHANNELS)]
    for number, connection in enumerate(connections):
        connection.sendall(b"?")
        assert lending.hear() == data(number, b"?")
    with lending.connect() as waits:
        waits.sendall(b"!")
        connections[7].close()
        assert [lending.hear(), lending.hear()] == [data(7), gone(7)]
        lending.say(gone(7))
        assert lending.hear() == data(7, b"!")
    for connection in connections:
        connection.close()


def test_more_than_a_window_ends_it(program: Path, tmp_path: Path) -> None:
    lending = Lending(program, tmp_path)
    with lending.connect() as one:
        one.sendall(b"?")
        assert lending.hear() == data(0, b"?")
        lending.say(bytes(4) + (WINDOW_BYTES + 1).to_bytes(4, "big"))
        assert lending.process.wait(20) == 0
    lending.close()
