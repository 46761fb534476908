"""docker 28.5 on a terminal, and as scripts run it: sizes, detach keys, signals, standard streams, exit statuses.

In `make soak` dockerd does the same.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from docker_clients import Clients
from docker_sdk import BUSYBOX
from soak import rounds
from terminal import Terminal, on_terminal

soak_only = pytest.mark.skipif(not rounds(short=0, soak=1), reason="make soak has it")
TIMEOUT_S = 60
PROMPT = b"# "
LEAVE = b"\x10\x11"  # ctrl-p, ctrl-q
CTRL_C = b"\x03"
SLEEPS = ("sh", "-c", "echo ready; exec sleep 300")
TELLS = "trap 'echo TERM' TERM; trap 'echo INT' INT; trap 'echo USR1' USR1; echo ready; while :; do sleep 0.1; done"


@contextmanager
def typed(
    daemon: Clients, *words: str, rows: int = 24, columns: int = 80
) -> Iterator[tuple[Terminal, Ended]]:
    argv, environment = daemon.docker_argv(*words), {**daemon.environment, "TERM": "xterm"}
    with on_terminal(argv, environment, rows, columns) as (terminal, process):
        yield terminal, Ended(process)


class Ended:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __call__(self) -> int:
        """The status, once it has ended."""
        return self._process.wait(TIMEOUT_S)


@contextmanager
def scripted(daemon: Clients, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Without a terminal; what it says is read."""
    with daemon.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def state(daemon: Clients, name: str) -> str:
    return daemon.out("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name)


def shown(terminal: Terminal, wanted: bytes) -> bool:
    try:
        return bool(terminal.read_until(wanted, deadline_s=5))
    except AssertionError:
        return False


def has_size(terminal: Terminal, rows: int, columns: int) -> None:
    """In the guest, once the news of it is there."""
    size = b"'%d %d'" % (rows, columns)
    terminal.type(b'until [ "$(stty size)" = ' + size + b" ]; do sleep 0.1; done; echo so''it\r")
    while not shown(terminal, b"soit"):  # the client has not listened yet when the window changed
        terminal.resize(rows, columns - 1)
        terminal.resize(rows, columns)
    terminal.read_until(PROMPT)


def test_a_shell_on_a_terminal(daemon: Clients) -> None:
    with typed(daemon, "run", "-it", "--name", "tty", BUSYBOX, "sh", rows=30, columns=100) as (
        terminal,
        ended,
    ):
        terminal.read_until(PROMPT)
        assert terminal.raw
        has_size(terminal, 30, 100)
        terminal.resize(40, 120)
        has_size(terminal, 40, 120)
        terminal.type(LEAVE)
        assert ended() == 0 and terminal.restored
    assert state(daemon, "tty") == "running 0"
    with typed(daemon, "attach", "tty", rows=33, columns=77) as (terminal, ended):
        has_size(terminal, 33, 77)
        terminal.type(b"exit 7\r")
        assert ended() == 7 and terminal.restored
    with typed(daemon, "start", "-ai", "tty") as (terminal, ended):
        terminal.read_until(PROMPT)
        terminal.type(LEAVE)
        assert ended() == 0
    assert state(daemon, "tty") == "running 0"  # and not what the last run ended with


@soak_only
def test_an_added_process_on_a_terminal(daemon: Clients) -> None:
    daemon.docker("run", "-d", "--name", "here", "--init", BUSYBOX, "sleep", "300")
    with typed(daemon, "exec", "-it", "here", "sh", rows=35, columns=90) as (terminal, ended):
        terminal.read_until(PROMPT)
        has_size(terminal, 35, 90)
        terminal.type(b"echo be''gun; sleep 300\r")
        terminal.read_until(b"begun")
        terminal.type(CTRL_C)
        terminal.read_until(PROMPT)
        terminal.type(b"exit 5\r")
        assert ended() == 5 and terminal.restored
    with typed(daemon, "exec", "-it", "here", "nosuch") as (terminal, ended):
        terminal.read_until(b"executable file not found")
        assert ended() == 127
    # Some have ended before their terminal could be given a size.
    said = [daemon.out("exec", "-t", "here", "tty") for _ in range(5)]
    assert all(each.startswith("/dev/pts/") and len(each.split()) == 1 for each in said), said


def test_signals_reach_the_program(daemon: Clients) -> None:
    with scripted(daemon, "run", "--name", "told", "--init", BUSYBOX, "sh", "-c", TELLS) as process:
        assert says(process) == b"ready"
        for each in (signal.SIGUSR1, signal.SIGINT):
            process.send_signal(each)
            assert says(process) == each.name.removeprefix("SIG").encode()
    assert state(daemon, "told") == "running 0"  # who was killed has not ended it


@soak_only
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_ends_it_is_its_status(daemon: Clients, sent: signal.Signals, status: int) -> None:
    with scripted(daemon, "run", "--rm", "--init", BUSYBOX, *SLEEPS) as process:
        assert says(process) == b"ready"
        process.send_signal(sent)
        assert process.wait(TIMEOUT_S) == status


@soak_only
def test_signals_to_who_is_attached(daemon: Clients) -> None:
    ticks = ("sh", "-c", "while :; do echo tick; sleep 0.1; done")
    daemon.docker("run", "-d", "--init", "--name", "told", BUSYBOX, *ticks)
    with typed(daemon, "logs", "-f", "told") as (terminal, ended):
        terminal.read_until(b"tick")
        terminal.type(CTRL_C)
        assert ended() == 130
    with scripted(daemon, "attach", "--sig-proxy=false", "told") as process:
        assert says(process) == b"tick"
        process.send_signal(signal.SIGINT)
        assert [says(process) for _ in range(20)] == [b"tick"] * 20
    with scripted(daemon, "attach", "told") as process:
        assert says(process) == b"tick"
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
    assert daemon.out("wait", "told") == "130"


@soak_only
def test_detach_keys_of_its_own(daemon: Clients, tmp_path: Path) -> None:
    daemon.docker("run", "-d", "-it", "--name", "tty", BUSYBOX, "sh")
    with typed(daemon, "attach", "--detach-keys", "ctrl-a,b", "tty") as (terminal, ended):
        terminal.type(b"\r")
        terminal.read_until(PROMPT)
        terminal.type(LEAVE + b"\x01b")
        terminal.read_until(b"read escape sequence")
        assert ended() == 1
    with typed(daemon, "exec", "-it", "--detach-keys", "ctrl-x", "tty", "sh") as (terminal, ended):
        terminal.read_until(PROMPT)
        terminal.type(b"\x18")
        assert ended() == 1
    assert len(daemon.out("top", "tty").splitlines()) == 3  # it goes on
    (tmp_path / "config.json").write_text('{"detachKeys": "ctrl-x,y"}')
    more = {**daemon.environment, "DOCKER_CONFIG": str(tmp_path)}
    with typed(Clients(daemon.socket, daemon.folder, more=more), "attach", "tty") as (terminal, ended):
        terminal.type(b"\r")
        terminal.read_until(PROMPT)
        terminal.type(b"\x18y")
        terminal.read_until(b"read escape sequence")
    assert state(daemon, "tty") == "running 0"


@soak_only
def test_a_client_that_is_killed_ends_nothing(daemon: Clients) -> None:
    counts = "echo ready; for i in $(seq 40); do echo $i; sleep 0.05; done; exit 4"
    with scripted(daemon, "run", "--name", "goes-on", BUSYBOX, "sh", "-c", counts) as process:
        assert says(process) == b"ready"
        process.kill()
    assert daemon.out("wait", "goes-on") == "4"
    assert daemon.out("logs", "--tail", "1", "goes-on") == "40"


@soak_only
@pytest.mark.parametrize(
    ("options", "out", "error"),
    [
        ((), b"o\n", b"e\n"),
        (("-a", "stdout"), b"o\n", b""),
        (("-a", "stderr"), b"", b"e\n"),
        (("-a", "stdin"), b"", b""),
        (("-i",), b"in\no\n", b"e\n"),
        (("-i", "-a", "stdin", "-a", "stdout"), b"in\no\n", b""),
        (("-i", "-a", "stdin"), b"", b""),
        (("-t",), b"o\r\ne\r\n", b""),
    ],
)
def test_standard_streams(daemon: Clients, options: tuple[str, ...], out: bytes, error: bytes) -> None:
    script = "cat; echo o; echo e >&2; exit 3" if "-i" in options else "echo o; echo e >&2; exit 3"
    done = daemon.docker("run", "--rm", *options, BUSYBOX, "sh", "-c", script, stdin=b"in\n", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, out, error)


@soak_only
def test_started_with_its_input(daemon: Clients) -> None:
    daemon.docker("create", "-i", "--name", "again", BUSYBOX, "sh", "-c", "cat; exit 6")
    for said in (b"one\n", b"two\n", b""):
        done = daemon.docker("start", "-ai", "again", stdin=said, check=False)
        assert (done.returncode, done.stdout) == (6, said)
