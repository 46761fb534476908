"""What an ordinary user's networks have that root's have not: a process that carries the way out."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from audit import kill_process
from free_port import free_port
from hyper import Hyper, processes_that_mention
from manifests import Cluster, container, pod, thing
from ordinary_user import UID
from owners import hyper_of
from reach import http_get
from until import until

BUSYBOX = busybox_image.REFERENCE
SERVER = ("sh", "-c", "mkdir /w; hostname > /w/name; exec httpd -f -p 80 -h /w")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="another user's processes want root")


@pytest.fixture
def mine(hypervisor: str) -> Iterator[Hyper]:
    with hyper_of("user", hypervisor) as made:
        yield made


def serve(hyper: Hyper, name: str, *flags: str) -> None:
    hyper("run", "-d", "--name", name, "--hostname", name, *flags, BUSYBOX, *SERVER)


def served(port: int) -> str:
    return http_get(f"127.0.0.1:{port}", "/name")[1].decode().strip()


def carrier(hyper: Hyper) -> int:
    return int(json.loads((hyper.run_dir / "way-out/carrier.json").read_bytes())["pid"])


def test_the_way_out_is_made_anew_when_its_process_was_killed(mine: Hyper) -> None:
    port, more = free_port(), free_port()
    serve(mine, "web", "-p", f"{port}:80")
    assert served(port) == "web"
    former = carrier(mine)
    kill_process(former)
    assert served(port) == "web"  # and nobody has asked hyperd for anything
    assert carrier(mine) != former
    assert "made anew" in mine.log()
    serve(mine, "other", "-p", f"{more}:80")
    assert served(more) == "other"


def test_the_way_out_outlives_hyperd_and_is_made_anew_by_the_next(mine: Hyper) -> None:
    port, gone = free_port(), free_port()
    serve(mine, "web", "-p", f"{port}:80", "-p", f"{gone}:80")
    assert served(port) == served(gone) == "web"
    former = carrier(mine)
    kill_process(mine.daemon_pid())
    assert served(port) == "web"
    mine("ps")
    assert carrier(mine) == former
    mine("ports", "rm", "web", f"{gone}:80")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gone), 5)
    kill_process(mine.daemon_pid())
    kill_process(former)
    mine("ps")
    assert served(port) == "web"


def test_ports_come_and_go_while_it_runs(mine: Hyper) -> None:
    port = free_port()
    serve(mine, "web")
    for _ in range(2):
        mine("ports", "add", "web", f"{port}:80")
        assert served(port) == "web"
        mine("ports", "rm", "web", f"{port}:80")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def test_one_port_at_two_addresses_leads_to_two_pods(mine: Hyper) -> None:
    port = free_port()
    serve(mine, "one", "-p", f"127.0.0.1:{port}:80")
    serve(mine, "two", "-p", f"127.0.0.2:{port}:80")
    assert http_get(f"127.0.0.1:{port}", "/name")[1] == b"one\n"
    assert http_get(f"127.0.0.2:{port}", "/name")[1] == b"two\n"
    kill_process(mine.daemon_pid())
    mine("rm", "-f", "one")
    serve(mine, "three", "-p", f"127.0.0.1:{port}:80")
    assert http_get(f"127.0.0.1:{port}", "/name")[1] == b"three\n"
    assert http_get(f"127.0.0.2:{port}", "/name")[1] == b"two\n"


def test_a_service_of_a_manifest_has_an_address_and_a_port_of_the_host(mine: Hyper) -> None:
    port = free_port()
    behind = pod("web", container("web", "hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp"))
    behind["metadata"]["labels"] = {"app": "web"}
    ports = [{"port": 8080, "targetPort": 80, "nodePort": port}]
    service = thing(
        "v1", "Service", "web", spec={"type": "NodePort", "selector": {"app": "web"}, "ports": ports}
    )
    with contextlib.closing(Cluster(mine)) as cluster:
        cluster.play(behind, service)
        assert http_get(f"127.0.0.1:{port}")[1] == b"web\n"
        asked = mine.out("run", "--rm", BUSYBOX, "wget", "-q", "-O", "-", "http://web:8080/")
        assert asked == "web"
        kill_process(mine.daemon_pid())
        assert http_get(f"127.0.0.1:{port}")[1] == b"web\n"
        mine("ps")
        kill_process(carrier(mine))
        assert http_get(f"127.0.0.1:{port}")[1] == b"web\n"


@pytest.mark.parametrize(
    ("port", "words"), [("127.0.0.1:1:80", b"needs root"), ("[::]::80", b"published on IPv4 alone")]
)
def test_what_an_ordinary_user_cannot_publish_is_refused(mine: Hyper, port: str, words: bytes) -> None:
    refused = mine("run", "--rm", "-p", port, BUSYBOX, "true", check=False)
    assert refused.returncode == 125 and words in refused.stderr


def test_two_hyperds_of_one_user_do_not_disturb_each_other(mine: Hyper, hypervisor: str) -> None:
    port, theirs = free_port(), free_port()
    serve(mine, "web", "-p", f"{port}:80")
    with hyper_of("user", hypervisor) as other:
        serve(other, "web", "--hostname", "other", "-p", f"{theirs}:80")
        taken = other("run", "--rm", "-p", f"{port}:80", BUSYBOX, "true", check=False)
        assert taken.returncode == 125 and b"already allocated" in taken.stderr
        assert (served(port), served(theirs)) == ("web", "other")
        kill_process(carrier(other))
        assert served(theirs) == "other"
        assert served(port) == "web"
    assert served(port) == "web"


def test_nothing_is_left_when_the_last_pod_has_gone(hypervisor: str) -> None:
    with hyper_of("user", hypervisor) as made:
        serve(made, "web", "-p", "127.0.0.1::80")
        assert len(mine_of(made)) == 2
        made.stop()
        until(lambda: not mine_of(made), "the keeper and the way out gone")
        assert not (made.run_dir / "way-out").exists() and not (made.run_dir / "networks").exists()


def mine_of(hyper: Hyper) -> list[str]:
    """The keeper, and who carries the way out: all of the user's."""
    found = [
        line for line in processes_that_mention(f"{hyper.run_dir}/") if "/way-out" in line or "netns" in line
    ]
    assert all(Path(f"/proc/{line.split()[0]}").stat().st_uid == UID for line in found)
    return found
