"""`hyper` on a terminal, as a person uses it: sizes, keys, detaching, signals, and a terminal that comes back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

import pytest

import busybox_image
from hyper import Hyper
from terminal import Terminal, on_terminal
from tmux import Tmux

BUSYBOX = busybox_image.REFERENCE
PROMPT = b"/ # "
WAITS = 100


@contextlib.contextmanager
def on(
    hyper: Hyper, *words: str, rows: int = 24, columns: int = 80
) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    with on_terminal(hyper.argv(*words), hyper.environment, rows, columns) as both:
        yield both


def test_a_shell_knows_its_window_from_the_first_to_the_last_size(hyper: Hyper) -> None:
    script = "stty size; trap 'stty size; exit 7' WINCH; echo ready; sleep 1000 & wait"
    with on(hyper, "run", "--rm", "-it", BUSYBOX, "sh", "-c", script, rows=33, columns=101) as (
        screen,
        client,
    ):
        assert screen.read_until(b"ready\r\n") == b"33 101\r\nready\r\n"
        assert screen.raw
        screen.resize(50, 132)
        screen.read_until(b"50 132\r\n")
        assert client.wait(WAITS) == 7
        assert screen.restored


def test_keys_reach_the_program_and_hyper_stays(hyper: Hyper) -> None:
    with on(hyper, "run", "--rm", "-it", BUSYBOX, "sh") as (screen, client):
        screen.read_until(PROMPT)
        screen.type(b"echo ready; cat\r")
        screen.read_until(b"\nready\r\n")
        screen.type(b"hello\r")
        screen.read_until(b"hello\r\nhello\r\n")  # once by the terminal, once by cat
        screen.type(b"\x03")
        screen.read_until(b"^C")
        screen.read_until(PROMPT)
        screen.type(b"echo status $?\r")
        screen.read_until(b"status 130\r\n")
        screen.type(b"echo ready; cat -v\r")
        screen.read_until(b"\nready\r\n")
        screen.type(b"\x10x\r")  # begins like the detach keys, and is none
        screen.read_until(b"^Px\r\n^Px\r\n")
        screen.type(b"\x04")
        screen.read_until(PROMPT)
        screen.type(b"\x04")
        assert client.wait(WAITS) == 0
        assert screen.restored


def test_detach_and_attach_again(hyper: Hyper) -> None:
    with on(hyper, "run", "-it", "--name", "c", BUSYBOX, "sh") as (screen, client):
        screen.read_until(PROMPT)
        screen.type(b"x=inside\r")
        screen.read_until(PROMPT)
        screen.type(b"\x10")
        screen.type(b"\x11")
        assert client.wait(WAITS) == 0
        assert screen.restored
    assert hyper.out("ps", "--format", "{{.Names}} {{.State}}") == "c running"
    with on(hyper, "attach", "c", rows=41, columns=91) as (screen, client):
        screen.type(b"echo is $x\r")
        screen.read_until(b"is inside\r\n")
        assert screen.raw
        screen.type(b"stty size\r")
        screen.read_until(b"41 91\r\n")
        screen.type(b"exit 3\r")
        assert client.wait(WAITS) == 3
        assert screen.restored
    assert hyper.inspect("c")["State"]["ExitCode"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_client_that_is_told_to_end_leaves_container_and_terminal_in_order(
    hyper: Hyper, number: signal.Signals
) -> None:
    with on(hyper, "run", "-it", "--name", "c", BUSYBOX, "sh") as (screen, client):
        screen.read_until(PROMPT)
        assert screen.raw
        client.send_signal(number)
        assert client.wait(WAITS) == 128 + number
        assert screen.restored
    assert hyper.out("ps", "--format", "{{.Names}} {{.State}}") == "c running"


def test_exec_on_a_terminal(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    with on(hyper, "exec", "-it", "c", "sh", rows=20, columns=70) as (screen, client):
        screen.read_until(PROMPT)
        screen.type(b"stty size; tty\r")
        screen.read_until(b"20 70\r\n/dev/pts/0\r\n")
        screen.type(b"sh -c 'echo ready; sleep 1000'\r")
        screen.read_until(b"\nready\r\n")
        screen.type(b"\x03")
        screen.read_until(PROMPT)
        screen.type(b"exit 9\r")
        assert client.wait(WAITS) == 9
        assert screen.restored
    with on(hyper, "exec", "-it", "c", "sh") as (screen, client):
        screen.read_until(PROMPT)
        screen.type(b"\x10\x11")
        assert client.wait(WAITS) == 0
        assert screen.restored
    assert hyper.out("exec", "-t", "c", "sh", "-c", "echo out; echo err >&2") == "out\r\nerr"


def test_a_terminal_without_one(hyper: Hyper) -> None:
    refused = hyper("run", "--rm", "-it", BUSYBOX, "true", check=False)
    assert (refused.returncode, refused.stdout) == (125, b"")
    assert b"the input device is not a TTY" in refused.stderr
    done = hyper("run", "--rm", "-t", BUSYBOX, "sh", "-c", "echo out; echo err >&2; tty")
    assert done.stdout == b"out\r\nerr\r\n/dev/pts/0\r\n"


def test_signals_to_the_client_are_the_programs(hyper: Hyper) -> None:
    traps = "trap 'echo int' INT; trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM"
    script = f"{traps}; echo ready; while :; do sleep 1000 & wait $!; done"
    client = hyper.popen("run", "--rm", BUSYBOX, "sh", "-c", script, stdout=subprocess.PIPE)
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        for number, word in ((signal.SIGINT, b"int"), (signal.SIGUSR1, b"usr1"), (signal.SIGTERM, b"term")):
            client.send_signal(number)
            assert client.stdout.readline() == word + b"\n"
        assert client.wait(WAITS) == 5


def test_without_proxy_a_signal_ends_the_client_alone(hyper: Hyper) -> None:
    words = ("run", "--sig-proxy=false", "--name", "c", BUSYBOX, "sh", "-c", "echo ready; sleep 1000")
    with hyper.popen(*words, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        client.send_signal(signal.SIGINT)
        assert client.wait(WAITS) == 130
    assert hyper.out("ps", "--format", "{{.Names}}") == "c"


def test_a_person_edits_a_file_in_tmux(hyper: Hyper) -> None:
    with Tmux(hyper.environment, columns=90, rows=24) as tmux:
        tmux.type(f"{hyper.argv()[0]} run --rm -it -h box {BUSYBOX}", "Enter")
        tmux.until("/ #")
        tmux.type("vi /tmp/note", "Enter")
        tmux.until("- /tmp/note 1/1 100%")
        tmux.type("i", "written by hand", "Escape")
        tmux.until("- /tmp/note [Modified] 1/1 100%")
        assert tmux.screen()[:2] == ["written by hand", "~"]
        assert len(tmux.screen()) == 24  # the editor has the whole window
        tmux.resize(60, 18)
        tmux.type(":wq", "Enter")
        tmux.until("/ #")
        tmux.type("clear; stty size; cat /tmp/note; hostname; exit 6", "Enter")
        tmux.until("$")
        assert tmux.screen()[:3] == ["18 60", "written by hand", "box"]
        tmux.type(
            "code=$?; clear; stty -a | grep -o '[-]*icrnl'; echo status=$code; read x; echo got $x", "Enter"
        )
        tmux.until("status=6")
        tmux.type("typed", "Enter")  # on a terminal that echoes and edits lines as before
        tmux.until("$")
        assert tmux.screen()[:4] == ["icrnl", "status=6", "typed", "got typed"]
