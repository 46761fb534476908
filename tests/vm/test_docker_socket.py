"""Docker's API from inside a container that was given it: what half ends, what is large, and a hyperd that dies."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import busybox_image
from audit import kill_process
from hyper import Hyper
from until import until

BUSYBOX = busybox_image.REFERENCE
TALK_C = Path(__file__).parents[1] / "support/talk.c"
SOCKET = "/var/run/docker.sock"
PING = ("GET /_ping", b"", "Connection: close")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("talk") / "talk"
    subprocess.run(["musl-gcc", "-static", "-o", made, TALK_C], check=True)
    return made


class Inside:
    """A container that has the API.  ``ask`` sends a request from there, and ends what it sends at once."""

    def __init__(self, hyper: Hyper, name: str, talk: Path, *options: str) -> None:
        self._hyper, self._name = hyper, name
        hyper("run", "-d", "--name", name, "--tmpfs", "/tools:exec", *options, BUSYBOX, "sleep", "1000")
        self.equip(talk)

    def equip(self, talk: Path) -> None:
        self._hyper("cp", str(talk), f"{self._name}:/tools/talk")

    def ask(self, head: str, body: bytes = b"", *headers: str, behind: bytes = b"") -> tuple[int, bytes]:
        """The status, 0 where nobody answers, and what comes after the head.  ``behind``: what is sent behind the
        request."""
        length = f"Content-Length: {len(body)}"
        said = "\r\n".join([f"{head} HTTP/1.1", "Host: docker", length, *headers, "", ""]).encode()
        words = ("exec", "-i", self._name, "/tools/talk", SOCKET)
        answer = self._hyper(*words, stdin=said + body + behind, check=False).stdout
        first, _, rest = answer.partition(b"\r\n\r\n")
        return int(first.split()[1]) if first else 0, rest

    def attached(self, head: str, body: bytes, given: bytes) -> bytes:
        """What the program says whose input ``given`` is."""
        headers = ("Connection: Upgrade", "Upgrade: tcp", "Content-Type: application/json")
        status, framed = self.ask(head, body, *headers, behind=given)
        assert status == 101
        said = b""
        while framed:
            end = 8 + int.from_bytes(framed[4:8], "big")
            said, framed = said + framed[8:end], framed[end:]
        return said

    def execute(self, container: str, *command: str, given: bytes = b"") -> bytes:
        wish = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Cmd": command}
        headers = ("Connection: close", "Content-Type: application/json")
        status, made = self.ask(f"POST /containers/{container}/exec", json.dumps(wish).encode(), *headers)
        assert status == 201
        identifier = json.loads(made)["Id"]
        return self.attached(f"POST /exec/{identifier}/start", b'{"Detach":false,"Tty":false}', given)


def test_what_a_container_may_do_with_it(hyper: Hyper, talk: Path) -> None:
    inside = Inside(hyper, "ci", talk, "-v", f"{SOCKET}:{SOCKET}", "--read-only")
    assert hyper.out("exec", "ci", "stat", "-c", "%F %a %u:%g", SOCKET) == "socket 660 0:0"
    assert hyper.inspect("ci")["HostConfig"]["Binds"] == [f"{SOCKET}:{SOCKET}"]
    status, told = inside.ask("GET /version", b"", "Connection: close")
    assert status == 200 and json.loads(told)["ApiVersion"]

    assert inside.execute("ci", "cat", given=b"to and fro\n") == b"to and fro\n"
    assert inside.execute("ci", "wc", "-c", given=bytes(1 << 20)) == b"1048576\n"
    assert len(inside.execute("ci", "head", "-c", "1048576", "/dev/zero")) == 1 << 20
    hyper("run", "-d", "-i", "--name", "other", BUSYBOX, "sh", "-c", "read x; echo got $x")
    attach = "POST /containers/other/attach?stream=1&stdin=1&stdout=1&stderr=1"
    assert inside.attached(attach, b"", b"a word\n") == b"got a word\n"

    hyper("restart", "-t", "0", "ci")
    inside.equip(talk)
    assert inside.ask(*PING)[0] == 200


def test_nothing_is_there_that_nobody_has_asked_for(hyper: Hyper) -> None:
    hyper("run", "--rm", BUSYBOX, "sh", "-c", f"[ ! -e {SOCKET} ]")


def test_it_is_there_again_when_hyperd_is(own_hyper: Hyper, talk: Path) -> None:
    hyper = own_hyper
    inside = Inside(hyper, "ci", talk, "--docker-socket", SOCKET)
    assert inside.ask(*PING) == (200, b"OK")
    assert kill_process(hyper.daemon_pid())
    hyper("ps")
    until(lambda: inside.ask(*PING)[0] == 200, "the socket is there again")
    assert hyper.out("exec", "ci", "grep", "-c", f" {SOCKET} ", "/proc/mounts") == "2"
