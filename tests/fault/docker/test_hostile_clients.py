"""Clients of Docker's API that mean no good: what they send is refused in the API's words or breaks their own
connection off, hyperd holds no more for it afterwards, and others are served meanwhile."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
import docker_fuzz
import docker_schema
from attacks import USER, held_by
from docker_fuzz import Asked, Fuzzer
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from soak import rounds
from uml_kernel import uml_kernel

SEED = rounds(short=20260101, soak=20260102)
REQUESTS = rounds(short=150, soak=100_000)
CROWD = rounds(short=1500, soak=10_000)
NAMES = {"containers": ("web",), "images": (busybox_image.REFERENCE,), "networks": ("bridge",)}
SLOW = 50
GROUP = "nogroup"
GROWTH_KIB = 96 << 10
PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"
# What asks others, who are not there: that is their failure.
OTHERS = ("/images/create", "/images/search", "/push", "/distribution/", "/auth", "/build")


@pytest.fixture(scope="module")
def attacked() -> Iterator[Hyper]:
    uml_kernel()
    with hyper_context(f'group = "{GROUP}"\n{NO_POOL}', hypervisor="uml") as made:
        made.base.chmod(0o755)
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        made("run", "-d", "--name", "web", "--stop-timeout", "0", busybox_image.REFERENCE, "sleep", "1000")
        yield made


@pytest.fixture(scope="module")
def daemon(attacked: Hyper) -> int:
    return attacked.daemon_pid()


@pytest.fixture
def sock(attacked: Hyper, daemon: int) -> Iterator[Path]:
    """Afterwards hyperd serves as before, and holds no more."""
    path = attacked.run_dir / "docker.sock"
    assert pinged(path)
    before = held_by(daemon)
    yield path
    assert pinged(path)
    attacked.until(lambda: held_by(daemon)["descriptors"] <= before["descriptors"] + 2, "what was held goes")
    after = held_by(daemon)
    assert after["memory_kib"] - before["memory_kib"] < GROWTH_KIB, (before, after)
    assert "Traceback" not in attacked.log(), attacked.log()[-6000:]


def connected(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path))  # waits for its turn, as one with a timeout does not
    made.settimeout(docker_fuzz.TIMEOUT_S)
    return made


def strangers(path: Path) -> socket.socket:
    """Another user's, who is a member of the group."""
    os.setegid(grp.getgrnam(GROUP).gr_gid)
    os.seteuid(USER)
    try:
        return connected(path)
    finally:
        os.seteuid(0)
        os.setegid(0)


def pinged(path: Path) -> bool:
    return docker_fuzz.ask(path, Asked("GET", "/_ping", PING)).body == b"OK"


def test_whatever_is_asked_is_answered_by_the_description(sock: Path) -> None:
    fuzzer = Fuzzer(SEED, NAMES)
    for number in range(REQUESTS):
        asked = fuzzer.one()
        got = docker_fuzz.ask(sock, asked)
        said = (number, asked.data[:2000], got)
        assert got.status or got.cut, said
        if got.status in (400, 404, 405, 413, 414, 431) and not _is_calls(asked):
            continue  # of a path that is none of the API's
        allowed = any(part in asked.target for part in OTHERS)
        assert got.status != 500 or allowed, said
        wrong = docker_schema.wrong_answer(
            asked.method, asked.target, got.status, got.headers, got.body, cut=got.cut
        )
        assert not wrong, (wrong, said)


def _is_calls(asked: Asked) -> bool:
    return bool(docker_schema.template_of(asked.method, asked.target.partition("?")[0]))


NO_REQUESTS = [
    (b"GET /_ping HTTP/1.1\r\nHost: d\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", 431),
    (b"GET /" + b"a" * 200_000, 431),
    (b"GET /_ping HTTP/1.1\r\nHost: d\r\n" + b"A: b\r\n" * 100_000 + b"\r\n", 431),
    (b"GET /_ping HTTP/1.1\r\n\r\n", 400),
    (b"GET /\0 HTTP/1.1\r\nHost: d\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3", 400),
    (
        b"POST /containers/web/exec HTTP/1.1\r\nHost: d\r\nContent-Length: 99999999999\r\n\r\n"
        + b" " * (9 << 20),
        413,
    ),
    (
        b"POST /containers/web/exec HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
    ),
    (b"POST /containers/web/exec HTTP/1.1\r\nHost: d\r\nContent-Length: -1\r\n\r\n", 400),
    (
        b"POST /containers/web/exec HTTP/1.1\r\nHost: d\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        400,
    ),
]


def test_what_is_no_request(sock: Path) -> None:
    for data, status in NO_REQUESTS:
        with connected(sock) as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(data)
            got = docker_fuzz.read(client, "GET")
        assert got.status == status, (data[:200], got)
        assert set(json.loads(got.body)) == {"message"}


def test_a_body_that_breaks_off_does_nothing(sock: Path, attacked: Hyper) -> None:
    body = b'{"Cmd": ["true"]}'
    head = b"POST /containers/web/exec HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1)
    known = attacked.inspect("web")["ExecIDs"]
    with connected(sock) as client:
        client.sendall(head + body)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""
    assert attacked.inspect("web")["ExecIDs"] == known


def test_slow_ones_hold_nobody_up(sock: Path) -> None:
    """Heads and bodies that come byte by byte: each has its own deadline (`connection.Limits`)."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(sock)) for _ in range(SLOW)]
        for number, client in enumerate(slow):
            whole = number % 2 == 0
            client.sendall(
                PING[:10] if whole else b"POST /commit HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n{"
            )
        for client in slow:
            client.sendall(b"x")
            assert pinged(sock)


def test_hijacks_that_nobody_reads_or_ends(sock: Path, attacked: Hyper) -> None:
    attacked("run", "-d", "--name", "loud", busybox_image.REFERENCE, "yes")
    attach = b"POST /containers/loud/attach?stream=1&stdout=1&stdin=1 HTTP/1.1\r\nHost: d\r\n"
    attach += b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for number in range(SLOW):
            client = stack.enter_context(connected(sock))
            client.sendall(attach)
            assert client.recv(12) == b"HTTP/1.1 101"
            if number % 2:
                client.shutdown(socket.SHUT_WR)
        assert pinged(sock)
        assert attacked.out("exec", "loud", "echo", "on") == "on"
    attacked("rm", "-f", "loud")


def test_a_crowd_is_bounded(sock: Path) -> None:
    """Of one user's; root's is served all the same."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, CROWD + 500)), hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(CROWD):
                client = stack.enter_context(strangers(sock))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    client.sendall(PING[:20])
            assert pinged(sock)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
