"""Commands on a terminal: raw mode and its end on every way out, size, keys, detach."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from fake_hyperd import STDIN, STDOUT, FakeHyperd, Peer, control, frame
from terminal import Terminal

Launch = Callable[..., subprocess.Popen[bytes]]
CREATED = {"id": "0123456789ab", "name": "web", "warnings": []}


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def on(terminal: Terminal, launch: Launch, *words: str) -> subprocess.Popen[bytes]:
    """With the terminal as its controlling one, as a shell would start it."""
    return launch(*words, **terminal.options())


def begin(peer: Peer) -> None:
    assert peer.receive_control() == {"resize": [24, 80]}
    peer.send(control(created=CREATED) + control(started=True) + frame(STDOUT, b"$ "))


def test_keys_are_bytes_and_the_terminal_comes_back(
    hyperd: FakeHyperd, terminal: Terminal, launch: Launch
) -> None:
    def script(peer: Peer) -> None:
        begin(peer)
        typed = b""
        while len(typed) < 6:
            typed += peer.expect(STDIN)
        assert typed == b"a\x03\x1a\x04\r\n"
        peer.send(frame(STDOUT, b"line\nnext") + control(exit=9))

    hyperd.stream("/v1/run", script)
    process = on(terminal, launch, "run", "-it", "image", "sh")
    terminal.read_until(b"$ ")
    assert terminal.raw
    terminal.type(b"a\x03\x1a\x04\r\n")
    assert b"line\nnext" in terminal.read_until(b"next")  # not changed on its way
    assert process.wait(20) == 9
    assert terminal.restored
    spec = hyperd.asked("POST", "/v1/run").json
    assert (spec["rows"], spec["columns"], spec["tty"]) == (24, 80, True)


def test_a_new_size_is_passed_on(hyperd: FakeHyperd, terminal: Terminal, launch: Launch) -> None:
    def script(peer: Peer) -> None:
        begin(peer)
        assert peer.receive_control() == {"resize": [50, 132]}
        peer.send(control(exit=0))

    hyperd.stream("/v1/run", script)
    process = on(terminal, launch, "run", "-it", "image")
    terminal.read_until(b"$ ")
    terminal.resize(50, 132)
    assert process.wait(20) == 0


def test_detach_leaves_quietly(hyperd: FakeHyperd, terminal: Terminal, launch: Launch) -> None:
    def script(peer: Peer) -> None:
        begin(peer)
        assert peer.receive_control() == {"detach": True}
        peer.send(control(detached=True))

    hyperd.stream("/v1/run", script)
    process = on(terminal, launch, "run", "-it", "--detach-keys", "ctrl-a,d", "image")
    terminal.read_until(b"$ ")
    terminal.type(b"\x01")
    terminal.type(b"d")
    assert process.wait(20) == 0
    assert terminal.restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_restores_the_terminal(
    hyperd: FakeHyperd, terminal: Terminal, launch: Launch, number: signal.Signals
) -> None:
    def script(peer: Peer) -> None:
        begin(peer)
        assert peer.at_end()

    hyperd.stream("/v1/run", script)
    process = on(terminal, launch, "run", "-it", "image")
    terminal.read_until(b"$ ")
    assert terminal.raw
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert terminal.restored


@pytest.mark.parametrize(
    "last", [b"", b"\xff\xff\xff\xff\xff\xff\xff\xff", control(error={"code": "agent", "message": "lost"})]
)
def test_a_failure_restores_the_terminal(
    hyperd: FakeHyperd, terminal: Terminal, launch: Launch, last: bytes
) -> None:
    def script(peer: Peer) -> None:
        begin(peer)
        assert peer.expect(STDIN) == b"x"
        peer.send(last)

    hyperd.stream("/v1/run", script)
    process = on(terminal, launch, "run", "-it", "image")
    terminal.read_until(b"$ ")
    terminal.type(b"x")
    assert process.wait(20) == 125
    assert terminal.restored
    assert b"hyper: " in terminal.read_until(b"\r\n")  # said in cooked mode


def test_exec_on_a_terminal_knows_the_size_from_the_start(
    hyperd: FakeHyperd, terminal: Terminal, launch: Launch
) -> None:
    hyperd.answer("POST", "/v1/containers/web/exec", {"id": "e1"}, 201)

    def script(peer: Peer) -> None:
        assert peer.receive_control() == {"resize": [24, 80]}
        peer.send(control(started=True) + frame(STDOUT, b"$ "))
        assert peer.expect(STDIN) == b"q"
        peer.send(control(exit=0))

    hyperd.stream("/v1/execs/e1/start", script)
    process = on(terminal, launch, "exec", "-it", "web", "sh")
    terminal.read_until(b"$ ")
    assert terminal.raw
    terminal.type(b"q")
    assert process.wait(20) == 0
    spec = hyperd.asked("POST", "/v1/containers/web/exec").json
    assert (spec["rows"], spec["columns"], spec["tty"]) == (24, 80, True)


@pytest.mark.parametrize("words", [("run", "-it", "image"), ("exec", "-it", "web", "sh")])
def test_a_terminal_that_is_none(hyperd: FakeHyperd, launch: Launch, words: tuple[str, ...]) -> None:
    process = launch(*words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stderr.readline() == b"hyper: the input device is not a TTY\n"
    assert process.wait(20) == 125
    assert hyperd.requests == []


def test_ctrl_c_while_pulling_ends_the_run(hyperd: FakeHyperd, terminal: Terminal, launch: Launch) -> None:
    def script(peer: Peer, _request: object) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"message":"pulling"}\n')
        assert peer.at_end()

    hyperd.on("POST", "/v1/images/pull", script)
    process = on(terminal, launch, "run", "-it", "--pull", "always", "image")
    terminal.read_until(b"pulling")
    terminal.type(b"\x03")
    assert process.wait(20) == -signal.SIGINT
    assert terminal.restored


def test_progress_is_redrawn_in_place(hyperd: FakeHyperd, terminal: Terminal, launch: Launch) -> None:
    layer = {"layer": "sha256:" + "ab" * 32, "status": "downloading", "current": 500, "total": 1000}
    hyperd.lines(
        "POST",
        "/v1/images/pull",
        {"progress": layer},
        {"progress": layer | {"status": "done", "current": 1000}},
        {"result": {"id": "sha256:1", "references": [], "repo_digests": []}},
    )
    process = on(terminal, launch, "pull", "localhost:5000/app:1")
    seen = terminal.read_until(b"localhost:5000/app:1\r\n")
    assert process.wait(20) == 0
    first, moved, rest = seen.partition(b"\x1b[1A")
    assert b"abababababab: Downloading [===============>              ] 500B/1kB" in first
    assert moved
    assert b"abababababab: Complete" in rest
