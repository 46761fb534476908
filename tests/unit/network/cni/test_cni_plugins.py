"""Debian's plugins of CNI on a private host: what they make, what a pod's tap device has of it, and what is left."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import frames_of_pods as f
from cni_stage import GATEWAY, INTERFACE, PLUGINS, SUBNET, PodByPlugins, Stage, pod, unpacked
from hypercontainer.linux.netns import Namespace
from hypercontainer.network import links
from hypercontainer.network.cni import execution
from hypercontainer.network.cni.chain import Chain
from hypercontainer.network.cni.results import PluginError
from private_host import DEADLINE_S, HOST, WAY_OUT, WORLD, PrivateHost, netlink, said

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="plugins want root")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    assert (PLUGINS / "bridge").exists(), (
        "containernetworking-plugins is missing: tools/setup.sh packages test"
    )
    return Stage(tmp_path)


def links_in(namespace: Namespace) -> set[str]:
    with netlink(namespace=namespace) as route:
        return {str(each.get_attr("IFLA_IFNAME")) for each in links.links(route)}


@contextmanager
def added(chain: Chain, stage: Stage, **more: Any) -> Iterator[PodByPlugins]:
    with pod(chain, stage.folder / "pod", **more) as made:
        yield made
        made.delete()


def test_a_bridge_with_addresses_of_host_local(host: PrivateHost, stage: Stage) -> None:
    with added(stage.chain(stage.bridge(mtu=1400)), stage) as one:
        device = one.add()
        assert device.addresses == ("10.77.0.2/24",) and device.told == device.addresses
        assert device.gateways == (GATEWAY,) and device.routes == () and device.mtu == 1400
        assert stage.leases() == {"10.77.0.2"}
        with one.plugged(device) as guest:
            guest.meet()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
                server.bind((GATEWAY, 7000))
                server.settimeout(DEADLINE_S)
                guest.ask(GATEWAY)
                router = guest.hears(lambda frame: frame.kind == f.ARP and frame.source == GATEWAY).from_mac
                guest.say(router, f.udp((guest.ip, 5000), (GATEWAY, 7000), b"from the pod"))
                data, sender = server.recvfrom(100)
                assert (data, sender) == (b"from the pod", (guest.ip, 5000))
                server.sendto(b"to the pod", sender)
                assert guest.hears_udp(b"to the pod").to_mac == guest.mac
            one.check()
        assert one.namespace.alive()
    assert stage.leases() == set()


def test_the_namespace_itself_hears_nothing_of_what_is_the_guests(host: PrivateHost, stage: Stage) -> None:
    with added(stage.chain(stage.bridge()), stage) as one:
        device = one.add()
        with one.plugged(device) as guest, one.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            guest.meet()
            sock.bind((guest.ip, 7000))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"who hears it", (guest.ip, 7000))
            assert guest.hears_udp(b"who hears it")
            with pytest.raises(BlockingIOError):
                sock.recv(100, socket.MSG_DONTWAIT)


def test_no_guest_reaches_the_hosts_loopback_address(host: PrivateHost, stage: Stage) -> None:
    """Although the plugin has opened the way there, for the sake of ports that are published on it."""
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"}]
    with added(stage.chain(stage.bridge(), portmap), stage, portMappings=ports) as one, ExitStack() as undo:
        device = one.add()
        assert Path("/proc/sys/net/ipv4/conf/cni-test0/route_localnet").read_text() == "1\n"
        guest = undo.enter_context(one.plugged(device))
        server = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        server.bind(("", 7000))
        server.settimeout(DEADLINE_S)
        guest.meet()
        guest.ask(GATEWAY)
        router = guest.hears(lambda frame: frame.kind == f.ARP and frame.source == GATEWAY).from_mac
        packet = f.udp((guest.ip, 5000), ("127.0.0.1", 7000), b"to the loopback address")
        guest.say(router, packet)
        for tags in (b"\x81\0\0\0", b"\x88\xa8\0\0", b"\x81\0\0\0" * 2):
            frame = f.ethernet(guest.mac, router, f.IP4, packet)
            guest.send(frame[:12] + tags + frame[12:])
        guest.say(router, f.udp((guest.ip, 5000), (GATEWAY, 7000), b"to the gateway"))
        assert server.recv(100) == b"to the gateway"


def test_a_device_takes_the_place_of_another(host: PrivateHost, stage: Stage) -> None:
    with added(stage.chain(stage.bridge()), stage) as one:
        device = one.add()
        for tap in ("t-first", "t-second"):
            with one.plugged(device, tap=tap) as guest:
                guest.meet()


def test_ptp_has_its_own_routes(host: PrivateHost, stage: Stage) -> None:
    ipam = stage.ipam(routes=[{"dst": "0.0.0.0/0"}, {"dst": "10.99.0.0/16", "gw": GATEWAY}])
    with added(stage.chain({"type": "ptp", "ipam": ipam}), stage) as one:
        device = one.add()
        assert device.addresses == ("10.77.0.2/24",)
        assert device.told == ("10.77.0.2/32",)  # its subnet is behind the gateway, and not on the link
        assert set(device.routes) == {f"{SUBNET} {GATEWAY}", f"{GATEWAY}/32", f"10.99.0.0/16 {GATEWAY}"}
        assert device.gateways == (GATEWAY,)
        with one.plugged(device) as guest:
            guest.meet()


def test_both_versions_of_ip(host: PrivateHost, stage: Stage) -> None:
    ranges = [[{"subnet": SUBNET}], [{"subnet": "fd77::/64"}]]
    ipam = stage.ipam(ranges=ranges, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
    with added(stage.chain(stage.bridge(ipam=ipam)), stage) as one:
        device = one.add()
        assert device.addresses == ("10.77.0.2/24", "fd77::2/64") and device.told == device.addresses
        assert device.gateways == (GATEWAY, "fd77::1") and device.routes == ()
        assert (device.address(6), device.gateway(6)) == ("fd77::2/64", "fd77::1")


def test_a_macvlan_has_its_mac_address_and_a_way_out(host: PrivateHost, stage: Stage) -> None:
    ipam = stage.ipam(
        "192.0.2.0/24",
        ranges=[[{"subnet": "192.0.2.0/24", "rangeStart": "192.0.2.50", "gateway": str(WORLD.ip)}]],
    )
    with added(
        stage.chain({"type": "macvlan", "master": WAY_OUT, "mode": "bridge", "ipam": ipam}), stage
    ) as one:
        device = one.add()
        assert device.addresses == ("192.0.2.50/24",)
        with one.plugged(device, str(WORLD.ip)) as guest:
            guest.meet()
            guest.ask(str(WORLD.ip))
            router = guest.hears(lambda frame: frame.kind == f.ARP and frame.source == str(WORLD.ip)).from_mac
            with host.remote(socket.SOCK_DGRAM) as world:
                port = world.getsockname()[1]
                guest.say(router, f.udp((guest.ip, 5000), (str(WORLD.ip), port), b"out"))
                assert world.recv(100) == b"out"
                world.sendto(b"in", (guest.ip, 5000))
                assert guest.hears_udp(b"in").to_mac == device.mac
            one.check()


def test_portmap_bandwidth_and_tuning_by_their_capabilities(host: PrivateHost, stage: Stage) -> None:
    chain = stage.chain(
        stage.bridge(ipMasq=True),
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        {
            "type": "tuning",
            "dataDir": str(stage.folder / "tuning"),
            "capabilities": {"mac": True},
            "mtu": 1300,
            "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"},
        },
    )
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]
    rate = {"ingressRate": 8_000_000, "ingressBurst": 80_000, "egressRate": 8_000_000, "egressBurst": 80_000}
    mac = "02:77:00:00:00:07"
    with pod(chain, stage.folder / "pod", portMappings=ports, bandwidth=rate, mac=mac) as one:
        device = one.add()
        assert (device.mac, device.mtu) == (mac, 1300)
        assert "10.77.0.2:80" in said("iptables-save") and "MASQUERADE" in said("iptables-save")
        assert "tbf" in said("tc", "qdisc", "show")
        with one.plugged(device) as guest:
            guest.meet()
            with host.remote(socket.SOCK_DGRAM) as world:
                world.sendto(b"by a published port", (str(HOST.ip), 8080))
                assert guest.hears_udp(b"by a published port").target == guest.ip
        one.delete()
        assert "10.77.0.2" not in said("iptables-save")
        assert "tbf" not in said("tc", "qdisc", "show")
        assert links_in(one.namespace) == {"lo"}


def test_an_address_that_is_asked_for(host: PrivateHost, stage: Stage) -> None:
    with added(stage.chain(stage.bridge()), stage, arguments={"IP": "10.77.0.99"}) as one:
        assert one.add().address(4) == "10.77.0.99/24"


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_every_version_that_is_spoken(host: PrivateHost, stage: Stage, version: str) -> None:
    with added(stage.chain(stage.bridge(), version=version), stage) as one:
        assert one.add().address(4) == "10.77.0.2/24"
        assert one.result["cniVersion"] == version
        one.check()


def test_check_tells_what_is_amiss(host: PrivateHost, stage: Stage) -> None:
    with ExitStack() as undo:
        one = undo.enter_context(added(stage.chain(stage.bridge()), stage))
        device = one.add()
        said(
            "nsenter",
            f"--net=/proc/{one.namespace.pid}/ns/net",
            "ip",
            "addr",
            "del",
            device.address(4),
            "dev",
            INTERFACE,
        )
        with pytest.raises(PluginError, match="network cni:net: CHECK by bridge: "):
            one.check()
        quiet = Stage(stage.folder).chain(stage.bridge(), disableCheck=True)
        PodByPlugins(quiet, one.namespace, one.attached, one.result).check()


def test_what_was_made_is_taken_back_where_the_namespace_is_gone(host: PrivateHost, stage: Stage) -> None:
    chain = stage.chain(stage.bridge(), {"type": "portmap", "capabilities": {"portMappings": True}})
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    with pod(chain, stage.folder / "pod", portMappings=ports) as one:
        one.add()
        one.namespace.end()
        one.delete(gone=True)
        one.delete(gone=True)  # and once more: nothing happens
    assert stage.leases() == set() and "10.77.0.2" not in said("iptables-save")


ORDER = 'echo "$CNI_COMMAND" >>"$log"; cat >/dev/null; '


def test_a_plugin_that_fails_in_mid_chain(host: PrivateHost, stage: Stage) -> None:
    refuses = (
        ORDER
        + """[ "$CNI_COMMAND" = DEL ] || { echo '{"code": 11, "msg": "no room", "details": "of mine"}'; exit 1; }"""
    )
    chain = stage.chain(stage.bridge(), stage.program("refuses", refuses), stage.program("last", ORDER))
    with pod(chain, stage.folder / "pod") as one:
        with pytest.raises(
            PluginError, match=r"network cni:net: ADD by refuses: no room; of mine \(try again later\)"
        ):
            one.add()
        assert stage.leases() == {"10.77.0.2"}
        one.delete()
        assert stage.leases() == set() and links_in(one.namespace) == {"lo"}
    assert stage.said("refuses") == ["ADD", "DEL"]
    assert stage.said("last") == ["DEL"]


def test_all_plugins_are_asked_to_let_go_whatever_one_says(host: PrivateHost, stage: Stage) -> None:
    stubborn = ORDER + 'if [ "$CNI_COMMAND" = DEL ]; then echo stuck >&2; exit 3; else echo "$told"; fi'
    chain = stage.chain(
        stage.bridge(), stage.program("stubborn", stubborn.replace('echo "$told"', "echo '{}'"))
    )
    with pod(chain, stage.folder / "pod") as one:
        one.add()
        with pytest.raises(PluginError, match="DEL by stubborn: stuck"):
            one.delete()
    assert stage.leases() == set()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sleep 1000", "did not end within 0.3 s"),
        ("exec yes", "says more than"),
        ("echo '[]'", "no JSON object"),
        ("echo no >&2; exit 1", "no$"),
        ("kill -9 $$", "said nothing"),
    ],
)
def test_a_plugin_that_hangs_floods_or_says_nonsense(
    host: PrivateHost, stage: Stage, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    if "0.3" in why:
        monkeypatch.setattr(execution, "DEADLINE_S", 0.3)
    told = pytest.raises(PluginError, match=f"network cni:net: ADD by odd: .*{why}")
    with pod(stage.chain(stage.program("odd", script)), stage.folder / "pod") as one, told:
        one.add()


def test_a_plugin_that_is_not_there_or_speaks_another_version(stage: Stage) -> None:
    asyncio.run(stage.chain(stage.bridge()).validate())
    with pytest.raises(PluginError, match=r"there is no program nowhere in .*/bin, /usr/lib/cni"):
        asyncio.run(stage.chain({"type": "nowhere"}).validate())
    old = stage.program("old", "exit 1", ["0.4.0"])
    with pytest.raises(PluginError, match=r"does not speak CNI 1\.0\.0"):
        asyncio.run(stage.chain(old).validate())


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("plugins"))


def test_newer_plugins_by_version_1_1(newer: Path, host: PrivateHost, tmp_path: Path) -> None:
    stage = Stage(tmp_path, (newer,))
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    chain = stage.chain(stage.bridge(), portmap, version="1.1.0")
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    asyncio.run(chain.validate())
    asyncio.run(chain.status())
    with added(chain, stage, portMappings=ports) as one:
        device = one.add()
        with one.plugged(device) as guest:
            guest.meet()
            one.check()


def test_gc_names_what_stays_to_every_plugin(newer: Path, host: PrivateHost, tmp_path: Path) -> None:
    stage = Stage(tmp_path, (newer,))
    hears = 'echo "$CNI_COMMAND $CNI_CONTAINERID $(cat)" >>"$log"'
    plugins = [stage.program("fails", f"{hears}; exit 1"), stage.bridge(), stage.program("hears", hears)]
    asyncio.run(stage.chain(*plugins, version="1.0.0").collect([]))  # of which nothing is asked
    asyncio.run(stage.chain(*plugins, version="1.1.0", disableGC=True).collect([]))
    assert stage.said("hears") == []
    with pytest.raises(PluginError, match="network cni:net: GC by fails: "):
        asyncio.run(stage.chain(*plugins, version="1.1.0").collect([("kept", INTERFACE)]))
    (line,) = stage.said("hears")
    assert line.startswith("GC  {")
    assert json.loads(line[4:])["cni.dev/valid-attachments"] == [{"containerID": "kept", "ifname": INTERFACE}]


def test_a_plugin_that_is_not_ready(stage: Stage) -> None:
    script = """echo '{"code": 50, "msg": "no daemon"}'; exit 1"""
    chain = stage.chain(stage.program("waits", script), version="1.1.0")
    with pytest.raises(
        PluginError, match=r"network cni:net: STATUS by waits: no daemon \(the plugin is not available\)"
    ):
        asyncio.run(chain.status())
    asyncio.run(stage.chain(stage.program("waits", script), version="1.0.0").status())  # nothing is asked
