"""Real guests in networks of CNI that Debian's plugins make on a host of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from audit import kill_process
from cni_stage import GATEWAY, PLUGINS, Stage
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from pools import POOL_OF_2, ready
from private_host import HOST, WAY_OUT, WORLD, PrivateHost, private_host, said

BUSYBOX = busybox_image.REFERENCE
SLEEP = ("sh", "-c", "sleep 1000")
SERVER = ("sh", "-c", "mkdir /w; echo served >/w/name; exec httpd -f -p 80 -h /w")
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
FAILS = """cat >/dev/null; [ "$CNI_COMMAND" != ADD ] || { echo '{"code": 11, "msg": "no room"}'; exit 1; }"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="plugins want root")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateHost]:
    with private_host(tmp_path_factory.mktemp("host")) as made:
        yield made


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    made = Stage(tmp_path_factory.mktemp("cni"))
    made.write(made.bridge("cni-a"), PORTMAP, name="a", version="0.4.0")
    more = made.ipam("10.78.0.0/24", routes=[{"dst": "10.99.0.0/16"}])
    made.write({"type": "ptp", "ipam": more}, name="more")
    out = [[{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.50", "gateway": str(WORLD.ip)}]]
    macvlan = {"type": "macvlan", "master": WAY_OUT, "ipam": made.ipam(ranges=out)}
    made.write(macvlan, name="macvlan")
    made.write(made.bridge("cni-b"), made.program("fails", FAILS), name="broken")
    (made.files / "99-odd.conf").write_text("{")
    return made


def config(stage: Stage, pool: str = NO_POOL) -> str:
    directories = json.dumps([str(stage.own), str(PLUGINS)])
    return f'[network]\ncni_conf_dir = "{stage.files}"\ncni_plugin_dirs = {directories}\n{pool}'


@pytest.fixture(scope="module")
def running(host: PrivateHost, stage: Stage, hypervisor: str) -> Iterator[Hyper]:
    with hyper_context(config(stage), hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


@pytest.fixture
def hyper(running: Hyper, stage: Stage) -> Iterator[Hyper]:
    """At the end nothing is left of any pod: no address, no namespace, no rule."""
    yield running
    running.remove_all()
    nothing_is_left(running, stage)


def nothing_is_left(hyper: Hyper, stage: Stage) -> None:
    hyper.until(lambda: not list((hyper.run_dir / "cni").iterdir()), "no namespace of a pod")
    for name in ("a", "more", "macvlan", "broken"):
        assert stage.leases(name) == set(), f"{name}\n{hyper.log()}"
    assert "10.77.0." not in said("iptables-save")
    assert not [line for line in said("ip", "-o", "link").splitlines() if " veth" in line]


def address(hyper: Hyper, name: str, network: str = "cni:a") -> str:
    return str(hyper.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])


def pings(hyper: Hyper, name: str, where: str) -> bool:
    return hyper("exec", name, "ping", "-c", "1", "-W", "5", where, check=False).returncode == 0


def from_the_world(host: PrivateHost, port: int) -> bytes:
    """What a web server says that is behind a port of the host."""
    with host.remote(socket.SOCK_STREAM) as client:
        client.connect((str(HOST.ip), port))
        client.sendall(b"GET /name HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
    return answer.rpartition(b"\r\n\r\n")[2].strip()


def test_guests_of_a_network_reach_each_other_and_the_host(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "web", "--network", "cni:a", BUSYBOX, *SERVER)
    hyper("run", "-d", "--name", "client", "--network", "cni:a", BUSYBOX, *SLEEP)
    web = address(hyper, "web")
    assert web.startswith("10.77.0.") and web != address(hyper, "client")
    assert pings(hyper, "client", GATEWAY) and pings(hyper, "client", web)
    fetched = ("exec", "client", "timeout", "10", "wget", "-q", "-O", "-", f"http://{web}/name")
    hyper.until(lambda: hyper(*fetched, check=False).stdout == b"served\n", "web's answer")
    network = hyper.json("network", "inspect", "cni:a")[0]
    assert {one["Name"] for one in network["Containers"].values()} == {"web", "client"}
    place = hyper.inspect("web")["NetworkSettings"]["Networks"]["cni:a"]
    assert place["Gateway"] == GATEWAY
    assert place["MacAddress"] in hyper.out("exec", "web", "ip", "link", "show", "dev", "eth0")


def test_a_clone_has_its_own_place(hyper: Hyper, hypervisor: str) -> None:
    words = ("--network", "cni:a", BUSYBOX)
    if hypervisor == "qemu":
        hyper.has_template(*words, "true")
    hyper("run", "-d", "--name", "one", *words, *SLEEP)
    assert pings(hyper, "one", GATEWAY)


def test_one_that_stands_ready_has_its_own_place(host: PrivateHost, stage: Stage, hypervisor: str) -> None:
    with hyper_context(config(stage, POOL_OF_2), hypervisor=hypervisor) as pooled:
        pooled("load", stdin=busybox_image.archive([busybox_image.layer()]))
        pooled("run", "--rm", "--network", "cni:a", BUSYBOX, "true")
        pooled.until(lambda: ready(pooled) == 2, "two that are ready")
        words = ("ping", "-c", "1", "-W", "5", GATEWAY)
        assert pooled.kind("--network", "cni:a", BUSYBOX, *words) == "warm"
        nothing_is_left(pooled, stage)


def test_a_published_port(hyper: Hyper, host: PrivateHost) -> None:
    hyper("run", "-d", "--name", "web", "--network", "cni:a", "-p", "8080:80", BUSYBOX, *SERVER)
    hyper("exec", "web", "sh", "-c", "until wget -q -O - http://127.0.0.1/name; do usleep 10000; done")
    assert from_the_world(host, 8080) == b"served"
    taken = hyper("run", "--rm", "--network", "cni:a", "-p", "8080:80", BUSYBOX, "true", check=False)
    assert taken.returncode == 125 and b"already allocated" in taken.stderr
    hyper("restart", "-t", "0", "web")
    hyper("exec", "web", "sh", "-c", "until wget -q -O - http://127.0.0.1/name; do usleep 10000; done")
    assert from_the_world(host, 8080) == b"served"
    refused = hyper("run", "--rm", "--network", "cni:more", "-p", "8081:80", BUSYBOX, "true", check=False)
    assert refused.returncode == 125 and b"'portMappings'" in refused.stderr and b"portmap" in refused.stderr


def test_a_macvlan_is_on_the_hosts_own_network(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "one", "--network", "cni:macvlan", BUSYBOX, *SLEEP)
    assert address(hyper, "one", "cni:macvlan").startswith("192.0.2.5")
    assert pings(hyper, "one", str(WORLD.ip))


def test_networks_come_and_go_while_a_pod_runs(hyper: Hyper, stage: Stage) -> None:
    hyper("run", "-d", "--name", "one", "--network", "cni:a", "--network", "cni:more", BUSYBOX, *SLEEP)
    assert pings(hyper, "one", GATEWAY) and pings(hyper, "one", "10.78.0.1")
    assert "10.99.0.0/16 via 10.78.0.1" in hyper.out("exec", "one", "ip", "route")
    hyper("network", "disconnect", "cni:more", "one")
    assert not pings(hyper, "one", "10.78.0.1") and stage.leases("more") == set()
    hyper("network", "connect", "cni:more", "one")
    assert pings(hyper, "one", "10.78.0.1") and pings(hyper, "one", GATEWAY)
    assert address(hyper, "one", "cni:more").startswith("10.78.0.")
    mixed = hyper("network", "connect", "bridge", "one", check=False)
    assert mixed.returncode == 1 and b"networks of CNI are a pod's only ones" in mixed.stderr
    broken = hyper("network", "connect", "cni:broken", "one", check=False)
    assert broken.returncode == 1 and b"ADD by fails: no room (try again later)" in broken.stderr
    assert stage.leases("broken") == set() and pings(hyper, "one", GATEWAY)


def test_what_is_asked_for_and_what_is_refused(hyper: Hyper, stage: Stage) -> None:
    hyper("run", "-d", "--name", "one", "--network", "cni:a", "--ip", "10.77.0.99", BUSYBOX, *SLEEP)
    assert address(hyper, "one") == "10.77.0.99"
    for flags, complaint in (
        (("--network", "cni:none"), b"there are cni:"),
        (("--network", "cni:a", "--network", "bridge"), b"networks of CNI are a pod's only ones"),
        (("--network", "cni:broken"), b"network cni:broken: ADD by fails: no room (try again later)"),
        (("--network", "cni:a", "--mac-address", "02:00:00:00:00:77", "--ip", "10.9.9.9"), b"ADD by bridge"),
        (("--network", "cni:a", "--network-alias", "x"), b"'aliases'"),
        (("--network", "cni:a", "--host-loopback", "5432"), b"nothing of the host's loopback address"),
    ):
        refused = hyper("run", "--rm", *flags, BUSYBOX, "true", check=False)
        assert refused.returncode == 125 and complaint in refused.stderr, refused.stderr
    assert hyper.out("network", "ls", "--filter", "driver=cni", "--format", "{{.Name}}").split() == [
        "cni:a",
        "cni:broken",
        "cni:macvlan",
        "cni:more",
    ]
    shown = hyper.json("network", "inspect", "cni:a")[0]
    assert shown["Driver"] == "cni" and shown["CNI"]["plugins"][0]["bridge"] == "cni-a"
    assert hyper.json("network", "inspect", shown["Id"][:12])[0]["Name"] == "cni:a"
    for words in (("rm", "cni:a"), ("rm", shown["Id"]), ("create", "cni:new")):
        refused = hyper("network", *words, check=False)
        assert refused.returncode == 1 and f"a file in {stage.files}".encode() in refused.stderr


def test_a_vm_that_is_killed_gives_its_place_up(hyper: Hyper, stage: Stage) -> None:
    hyper("run", "-d", "--name", "one", "--network", "cni:a", "-p", "8080:80", BUSYBOX, *SLEEP)
    assert len(stage.leases("a")) == 1 and "dport 8080" in said("iptables-save")
    assert kill_process(hyper.vm_pid("one"))
    nothing_is_left(hyper, stage)


@pytest.fixture
def own(host: PrivateHost, stage: Stage, hypervisor: str) -> Iterator[Hyper]:
    with hyper_context(config(stage), hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


def test_a_pod_goes_on_while_hyperd_is_away(own: Hyper, stage: Stage, host: PrivateHost) -> None:
    own("run", "-d", "--name", "web", "--network", "cni:a", "-p", "8080:80", BUSYBOX, *SERVER)
    own("exec", "web", "sh", "-c", "until wget -q -O - http://127.0.0.1/name; do usleep 10000; done")
    before = address(own, "web")
    kill_process(own.daemon_pid())
    assert from_the_world(host, 8080) == b"served"
    assert address(own, "web") == before and pings(own, "web", GATEWAY)
    own("network", "connect", "cni:more", "web")
    assert pings(own, "web", "10.78.0.1")
    own("rm", "-f", "web")
    nothing_is_left(own, stage)


def test_what_died_with_hyperd_is_given_up_by_the_next(own: Hyper, stage: Stage) -> None:
    own("run", "-d", "--name", "one", "--network", "cni:a", "--network", "cni:more", BUSYBOX, *SLEEP)
    vm = own.vm_pid("one")
    kill_process(own.daemon_pid())
    assert kill_process(vm)
    assert len(stage.leases("a")) == 1
    own("ps")
    nothing_is_left(own, stage)


def test_hyperd_dies_while_a_plugin_is_at_work(own: Hyper, stage: Stage) -> None:
    slow = stage.program("slow", '[ "$CNI_COMMAND" != ADD ] || { echo $$ >>"$log"; exec sleep 1000; }')
    stage.write(stage.bridge("cni-d", ipam=stage.ipam("10.80.0.0/24")), slow, name="slow")
    (stage.folder / "slow.log").unlink(missing_ok=True)
    with own.popen("run", "--rm", "--network", "cni:slow", BUSYBOX, "true", stderr=subprocess.PIPE) as asked:
        (plugin,) = own.until(lambda: stage.said("slow"), "the plugin at work")
        kill_process(own.daemon_pid())
        assert asked.wait(60) != 0
    assert kill_process(int(plugin))
    assert len(stage.leases("slow")) == 1
    own("ps")
    own.until(lambda: stage.leases("slow") == set(), "no address in use")
    (stage.files / "slow.conflist").unlink()
    own.remove_all()
    nothing_is_left(own, stage)


def test_a_namespace_that_is_gone_costs_nobody_else_anything(own: Hyper, stage: Stage) -> None:
    own("run", "-d", "--name", "one", "--network", "cni:a", BUSYBOX, *SLEEP)
    (keeper,) = (own.run_dir / "cni").glob("*/keeper.json")
    daemon = own.daemon_pid()
    kill_process(daemon)
    kill_process(json.loads(keeper.read_bytes())["pid"])
    own("restart", "-t", "0", "one")
    assert pings(own, "one", GATEWAY) and len(stage.leases("a")) == 1
    own("rm", "-f", "one")
    nothing_is_left(own, stage)


def test_a_plugin_that_does_not_let_go_is_asked_again(own: Hyper, stage: Stage) -> None:
    """By the next start, or by the next hyperd."""
    stubborn = 'cat >/dev/null; [ "$CNI_COMMAND" = DEL ] && [ -e "$log.stuck" ] && { echo stuck >&2; exit 1; }; exit 0'
    stage.write(
        stage.bridge("cni-c", ipam=stage.ipam("10.79.0.0/24")),
        stage.program("stubborn", said_on(stubborn)),
        name="stubborn",
    )
    stuck = Path(f"{stage.folder}/stubborn.log.stuck")
    try:
        own("run", "-d", "--name", "one", "--network", "cni:stubborn", BUSYBOX, *SLEEP)
        stuck.touch()
        own("stop", "-t", "0", "one")
        own.until(lambda: "DEL by stubborn: stuck" in own.log(), "the plugin's complaint")
        refused = own("start", "one", check=False)
        assert refused.returncode == 1 and b"not given up" in refused.stderr and b"stuck" in refused.stderr
        stuck.unlink()
        own("start", "one")
        assert pings(own, "one", "10.79.0.1")
    finally:
        stuck.unlink(missing_ok=True)
        own("rm", "-f", "one", check=False)
        (stage.files / "stubborn.conflist").unlink()
    nothing_is_left(own, stage)


def said_on(script: str) -> str:
    """A plugin in a chain hands on what the one before it said, which is the result."""
    result = """[ "$CNI_COMMAND" != ADD ] || { sed 's/.*"prevResult"://; s/}$//'; exit 0; }; """
    return result + script
