"""The stream loop against a scripted hyperd: data, credit, stalls, detach, ends of every kind."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fake_hyperd import CONTROL, CREDIT, STDERR, STDIN, STDOUT, WINDOW, FakeHyperd, Peer, control, frame
from hypercontainer.client.api import Client, RemoteError
from hypercontainer.client.http import BrokenAnswer
from hypercontainer.client.stream import ConnectionLost, Detached, Stream


class Pipe:
    """A pipe that the stream has one end of; the test has the other."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def close(self) -> None:
        for fd in (self.reading, self.writing):
            if fd >= 0:
                os.close(fd)
        self.reading = self.writing = -1

    def end(self) -> None:
        os.close(self.writing)
        self.writing = -1

    def stop_reading(self) -> None:
        os.close(self.reading)
        self.reading = -1

    def rest(self) -> bytes:
        self.end()
        data = b""
        while piece := os.read(self.reading, 65536):
            data += piece
        return data


@pytest.fixture
def pipe() -> Iterator[Callable[[], Pipe]]:
    made: list[Pipe] = []

    def make() -> Pipe:
        made.append(Pipe())
        return made[-1]

    yield make
    for one in made:
        one.close()


def start(hyperd: FakeHyperd, script: Callable[[Peer], None], **terms: object) -> Stream:
    hyperd.stream("/v1/run", script)
    return Stream(*Client(hyperd.path).upgrade("containers.run", body={"image": "x"}), **terms)  # type: ignore[arg-type]


class Background:
    """``run`` of a stream in a thread, its outcome to be asked for."""

    def __init__(self, stream: Stream) -> None:
        self.outcome: object = None
        self._thread = threading.Thread(target=self._run, args=(stream,))
        self._thread.start()

    def _run(self, stream: Stream) -> None:
        try:
            self.outcome = stream.run()
        except BaseException as error:
            self.outcome = error

    def result(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.outcome


def test_both_outputs_arrive_and_the_exit_status(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    out, err = pipe(), pipe()
    seen = []

    def script(peer: Peer) -> None:
        peer.send(control(created={"id": "1"}) + control(started=True))
        peer.send(frame(STDOUT, b"out") + frame(STDERR, b"err") + frame(STDOUT, b"put"))
        peer.send(frame(STDOUT) + frame(STDERR) + control(exit=42))

    stream = start(
        hyperd,
        script,
        stdout=out.writing,
        stderr=err.writing,
        on_control=lambda name, value: seen.append((name, value)),
    )
    assert stream.run() == 42
    assert (out.rest(), err.rest()) == (b"output", b"err")
    assert seen == [("created", {"id": "1"}), ("started", True)]


def test_frames_in_single_bytes(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    out = pipe()

    def script(peer: Peer) -> None:
        for byte in frame(STDOUT, b"slow") + control(exit=0):
            peer.send(bytes([byte]))

    assert start(hyperd, script, stdout=out.writing).run() == 0
    assert out.rest() == b"slow"


def test_input_goes_through_to_its_end(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    """Four windows of input, which takes hyperd's credit, and the half close."""
    typed = os.urandom(4 * WINDOW)
    source = pipe()
    got = []

    def script(peer: Peer) -> None:
        got.append(peer.read_input())
        peer.send(control(exit=0))

    running = Background(start(hyperd, script, stdin=source.reading))
    os.write(source.writing, b"")
    view = memoryview(typed)
    while view:
        view = view[os.write(source.writing, view[:65536]) :]
    source.end()
    assert running.result() == 0
    assert got == [typed]


def test_no_more_input_is_sent_than_there_is_credit_for(hyperd: FakeHyperd, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"x" * (WINDOW + 1000))
    source = os.open(path, os.O_RDONLY)

    def script(peer: Peer) -> None:
        got = 0
        while got < WINDOW:
            got += len(peer.expect(STDIN))
        assert got == WINDOW
        peer.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.receive()
        peer.sock.settimeout(10)
        peer.send(frame(CREDIT, struct.pack(">BxxxI", STDIN, 600)))
        assert len(peer.expect(STDIN)) == 600
        peer.send(frame(CREDIT, struct.pack(">BxxxI", STDIN, WINDOW)))
        assert len(peer.expect(STDIN)) == 400
        assert peer.expect(STDIN) == b""
        peer.send(control(exit=0))

    assert start(hyperd, script, stdin=source).run() == 0
    os.close(source)


def test_a_process_that_takes_no_more_input_ends_the_reading(
    hyperd: FakeHyperd, pipe: Callable[[], Pipe]
) -> None:
    source = pipe()

    def script(peer: Peer) -> None:
        assert peer.expect(STDIN) == b"first"
        peer.send(frame(STDIN))
        peer.send(control(exit=1))

    running = Background(start(hyperd, script, stdin=source.reading))
    os.write(source.writing, b"first")
    assert running.result() == 1


def test_input_is_held_until_it_is_wanted(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    source = pipe()
    os.write(source.writing, b"typed early")

    def script(peer: Peer) -> None:
        peer.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.receive()
        peer.sock.settimeout(10)
        peer.send(control(created={}))
        assert peer.expect(STDIN) == b"typed early"
        peer.send(control(exit=0))

    def created(_name: str, _value: object) -> None:
        stream.input_held = False

    stream = start(hyperd, script, stdin=source.reading, on_control=created)
    stream.input_held = True
    assert stream.run() == 0


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_stalled_output_stalls_alone_and_without_loss(
    hyperd: FakeHyperd, pipe: Callable[[], Pipe], kind: str
) -> None:
    """Standard output is not read; standard error and input go on; credit comes for what was written only."""
    if kind == "pipe":
        stuck = pipe()
        reading, writing = stuck.reading, stuck.writing
    else:
        ours, theirs = socket.socketpair()
        reading, writing = ours.fileno(), theirs.fileno()
    err, source = pipe(), pipe()
    data = os.urandom(WINDOW)
    released = threading.Event()

    def script(peer: Peer) -> None:
        for at in range(0, WINDOW, 65536):
            peer.send(frame(STDOUT, data[at : at + 65536]))
        peer.send(frame(STDERR, b"still here"))
        while True:  # some credit for what the pipe itself holds may come first
            channel, payload = peer.receive()
            if channel == STDIN:
                assert payload == b"still typing"
                break
        released.set()
        credited = 0
        while credited < WINDOW // 2:
            channel, count = struct.unpack(">BxxxI", peer.expect(CREDIT))
            assert channel == STDOUT
            credited += count
        peer.send(control(exit=0))

    running = Background(start(hyperd, script, stdin=source.reading, stdout=writing, stderr=err.writing))
    assert os.read(err.reading, 100) == b"still here"
    os.write(source.writing, b"still typing")
    assert released.wait(10)
    got = b""
    while len(got) < WINDOW:
        got += os.read(reading, 65536)
    assert got == data
    assert running.result() == 0
    assert os.get_blocking(writing)  # what the user's shell shares stays as it was
    if kind == "socket":
        ours.close()
        theirs.close()


def test_what_is_pending_at_the_exit_is_still_written(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    out = pipe()
    data = os.urandom(WINDOW)

    def script(peer: Peer) -> None:
        for at in range(0, WINDOW, 65536):
            peer.send(frame(STDOUT, data[at : at + 65536]))
        peer.send(control(exit=3))

    running = Background(start(hyperd, script, stdout=out.writing))
    got = b""
    while len(got) < WINDOW:
        got += os.read(out.reading, 4096)
    assert (got == data, running.result()) == (True, 3)


def test_credit_lets_output_go_on_without_end(hyperd: FakeHyperd, tmp_path: Path) -> None:
    total = 16 * WINDOW
    path = tmp_path / "out"
    out = os.open(path, os.O_WRONLY | os.O_CREAT)

    def script(peer: Peer) -> None:
        allowed = WINDOW
        sent = 0
        while sent < total:
            while allowed < 65536:
                allowed += struct.unpack(">BxxxI", peer.expect(CREDIT))[1]
            peer.send(frame(STDOUT, b"y" * 65536))
            allowed -= 65536
            sent += 65536
        peer.send(control(exit=0))

    assert start(hyperd, script, stdout=out).run() == 0
    os.close(out)
    assert path.stat().st_size == total


def test_more_output_than_allowed_is_refused(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    stuck = pipe()

    def script(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            for _ in range(40):
                peer.send(frame(STDOUT, b"z" * 65536))

    with pytest.raises(BrokenAnswer, match="more of channel 1"):
        start(hyperd, script, stdout=stuck.writing).run()


def test_output_nobody_wants_is_dropped_and_paid_for(hyperd: FakeHyperd) -> None:
    def script(peer: Peer) -> None:
        for _ in range(4):
            peer.send(frame(STDERR, b"z" * 65536))
        assert peer.expect(CREDIT)[0] == STDERR
        peer.send(control(exit=0))

    assert start(hyperd, script).run() == 0


def test_a_reader_that_left_is_a_broken_pipe(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    out = pipe()
    out.stop_reading()
    with pytest.raises(BrokenPipeError):
        start(hyperd, lambda peer: peer.send(frame(STDOUT, b"x")), stdout=out.writing).run()


def test_a_reader_that_leaves_while_output_waits(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    out = pipe()

    def script(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            for _ in range(4):
                peer.send(frame(STDOUT, b"x" * 65536))
            peer.at_end()

    running = Background(start(hyperd, script, stdout=out.writing))
    assert os.read(out.reading, 1) == b"x"
    out.stop_reading()
    assert isinstance(running.result(), BrokenPipeError)


def test_detach_keys_split_over_reads(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    source = pipe()
    halfway = threading.Event()

    def script(peer: Peer) -> None:
        assert peer.expect(STDIN) == b"ls\n"
        halfway.set()
        assert peer.receive_control() == {"detach": True}
        peer.send(frame(STDOUT, b"late") + control(detached=True))
        assert peer.at_end()

    running = Background(start(hyperd, script, stdin=source.reading, detach_keys=b"\x10\x11"))
    os.write(source.writing, b"ls\n\x10")
    assert halfway.wait(10)
    os.write(source.writing, b"\x11")
    assert isinstance(running.result(), Detached)


def test_a_hyperd_that_does_not_confirm_a_detach(
    hyperd: FakeHyperd, pipe: Callable[[], Pipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypercontainer.client.stream.DETACH_TIMEOUT_S", 0.05)
    source = pipe()
    os.write(source.writing, b"\x10\x11")

    def script(peer: Peer) -> None:
        assert peer.receive_control() == {"detach": True}
        assert peer.at_end()

    with pytest.raises(Detached):
        start(hyperd, script, stdin=source.reading, detach_keys=b"\x10\x11").run()


def test_controls_go_out_in_order(hyperd: FakeHyperd) -> None:
    def script(peer: Peer) -> None:
        assert peer.receive_control() == {"resize": [24, 80]}
        assert peer.receive_control() == {"signal": "TERM"}
        peer.send(control(exit=143))

    stream = start(hyperd, script)
    stream.resize(24, 80)
    stream.signal("TERM")
    assert stream.run() == 143


def test_signals_are_read_from_the_wakeup_descriptor(hyperd: FakeHyperd, pipe: Callable[[], Pipe]) -> None:
    wakeup = pipe()
    os.write(wakeup.writing, bytes([15, 28]))
    numbers = []

    def signalled(number: int) -> None:
        numbers.append(number)
        if number == 28:
            stream.resize(1, 2)

    def script(peer: Peer) -> None:
        assert peer.receive_control() == {"resize": [1, 2]}
        peer.send(control(exit=0))

    stream = start(hyperd, script, wakeup=wakeup.reading, on_signal=signalled)
    assert stream.run() == 0
    assert numbers == [15, 28]


def test_an_error_in_the_stream(hyperd: FakeHyperd) -> None:
    error = {"code": "launch", "message": "no VM", "hint": None, "details": {"exit_status": 127}}
    with pytest.raises(RemoteError) as caught:
        start(hyperd, lambda peer: peer.send(control(error=error))).run()
    assert (caught.value.code, caught.value.details["exit_status"]) == ("launch", 127)


def test_a_stream_that_breaks_off(hyperd: FakeHyperd) -> None:
    with pytest.raises(ConnectionLost):
        start(hyperd, lambda peer: peer.send(frame(STDOUT, b"x")[:5])).run()


@pytest.mark.parametrize(
    "data",
    [b"\7\0\0\0\0\0\0\0", frame(CONTROL, b"[]"), frame(CONTROL, b'{"a":1,"b":2}'), frame(CONTROL, b"\xff")],
)
def test_a_stream_of_garbage(hyperd: FakeHyperd, data: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        start(hyperd, lambda peer: peer.send(data)).run()
