"""What a fabric makes of a host, what it leaves of it, and what it finds of an earlier one, whole or not."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import frames_of_pods as f
from hypercontainer.contract.networks import Subnet
from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
from hypercontainer.network import links, nft
from hypercontainer.network.fabric import NamespaceFabric as Fabric
from hypercontainer.network.netlink import NETFILTER, Netlink, NetlinkError
from hypercontainer.network.parts import RESOLVER, Bridge, Place, Published
from hypercontainer.network.uplink import HostLink
from pod_by_hand import INTERNAL, A, B, Plug, Pod, networks, plugging, pod
from private_host import HOST, WAY_OUT, PrivateHost, footprint, netlink, said
from soak import rounds
from until import until

SETTINGS = Path("/proc/sys/net")
C = Bridge("dd" * 32, (Subnet("10.4.0.0/24", "10.4.0.1"),), 1400)


def inside(fabric: Fabric) -> dict[str, dict[str, object]]:
    """The interfaces of its namespace, by their names."""
    with netlink(namespace=fabric.namespace) as route:
        return {
            each.get_attr("IFLA_IFNAME"): {
                "mtu": each.get_attr("IFLA_MTU"),
                "mac": each.get_attr("IFLA_ADDRESS"),
                "up": bool(each["flags"] & links.UP),
                "master": each.get_attr("IFLA_MASTER"),
                "index": each["index"],
            }
            for each in links.links(route)
        }


def elements(fabric: Fabric) -> str:
    """The sets of pods in the namespace's rules."""
    pid = str(fabric.namespace.pid)
    text = said("nsenter", "--net", "--target", pid, "nft", "list", "table", "bridge", "hyper")
    return text.partition("chain")[0]


def link(fabric: Fabric) -> str:
    (name,) = (name for name in footprint().links if name.startswith("hyp-"))
    return name


def hello(host: PrivateHost, one: Pod) -> None:
    """It has its way out."""
    with contextlib.closing(host.remote(socket.SOCK_DGRAM)) as remote:
        one.out(f.udp((one.ip, 1), remote.getsockname(), b"hello"))
        assert remote.recvfrom(100)[0] == b"hello"


def test_of_a_fabric_the_host_has_a_link_a_table_and_the_ways(host: PrivateHost, tmp_path: Path) -> None:
    before = footprint()
    with networks(tmp_path / "fabric", A, C) as fabric:
        with_it = footprint()
        (name,) = with_it.links - before.links
        ways = {"10.1.0.0/24", "fd01::/64", "10.4.0.0/24", "10.236.0.0/30"}
        assert with_it.routes - before.routes == {f"{way} {name}" for way in ways}
        assert with_it.tables == f"table inet hyper_{name.removeprefix('hyp-')}\n"
        fabric.make(B)
        ways = {"10.2.0.0/24", "fd02::/64"}
        assert footprint().routes - with_it.routes == {f"{way} {name}" for way in ways}
        fabric.remove(B)
        fabric.remove(B)  # nothing happens
        assert footprint() == with_it
        assert set(inside(fabric)) == {"lo", "uplink", A.device, C.device}


def test_a_bridge_is_as_it_was_asked_for(fabric: Fabric) -> None:
    fabric.make(C)
    there = inside(fabric)
    assert (there[C.device]["mtu"], there[C.device]["mac"], there[C.device]["up"]) == (1400, C.mac, True)
    assert there[A.device]["mtu"] == 1500
    made = pod(fabric, C, 2)
    with contextlib.closing(made), netlink(namespace=fabric.namespace) as route:
        found = inside(fabric)[made.place.tap]
        assert (found["mtu"], found["master"], found["up"]) == (1400, there[C.device]["index"], True)
        own = [
            each.get_attr("IFA_ADDRESS")
            for each in links.addresses(route)
            if each["index"] == there[C.device]["index"]
        ]
        assert own == ["10.4.0.1"]  # and none of IPv6


def test_the_mtu_is_that_of_the_way_out(host: PrivateHost, tmp_path: Path) -> None:
    said("nsenter", "--net", "--target", str(host.world.pid), "ip", "link", "set", "world0", "mtu", "1380")
    said("ip", "link", "set", WAY_OUT, "mtu", "1380")
    with networks(tmp_path / "fabric", A) as fabric:
        assert fabric.mtu() == 1380
        assert inside(fabric)["uplink"]["mtu"] == 1380


def test_what_is_taken_is_what_the_host_has_a_way_to_or_an_address_in(fabric: Fabric) -> None:
    said("ip", "address", "add", "10.232.5.6/32", "dev", WAY_OUT)
    said("ip", "route", "add", "10.233.0.0/16", "dev", WAY_OUT)
    taken = {str(each) for each in fabric.taken()}
    said("ip", "route", "del", "10.233.0.0/16")
    assert {"192.0.2.0/24", "2001:db8::/64", "10.1.0.0/24", "fd01::/64", "10.236.0.0/30"} <= taken
    assert {"10.232.5.6/32", "10.233.0.0/16"} <= taken
    assert "0.0.0.0/0" not in taken
    assert "::/0" not in taken


def test_the_next_hyperd_finds_all_as_it_was_and_pods_go_on(
    host: PrivateHost, fabric: Fabric, plug: Plug, tmp_path: Path
) -> None:
    one, other = plug(A, 2), plug(A, 3)
    ports = [Published("udp", "127.0.0.1", 8080, one.ip, 80)]
    fabric.publish(ports)
    before, there = footprint(), inside(fabric)
    for listener in fabric.listeners():
        listener.close()
    fabric.close()
    one.out(f.udp((one.ip, 7), (RESOLVER, 53), b"meanwhile"))
    following = Fabric(tmp_path / "fabric", HostLink(str(tmp_path / "fabric")), user=False)
    following.open((A, B, INTERNAL), (one.place, other.place), ports)
    try:
        assert (footprint(), inside(following)) == (before, there)
        hello(host, one)
        one.say(other.mac, f.udp((one.ip, 1), (other.ip, 2), b"beside"))
        other.hears_udp(b"beside")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            here.sendto(b"port", ("127.0.0.1", 8080))
            one.hears_udp(b"port")
        asked, door = following.listeners()
        assert asked.recvfrom(100) == (b"meanwhile", (one.ip, 7))
        for each in (asked, door):
            each.close()
    finally:
        following.close()


def test_what_the_next_hyperd_does_not_name_is_gone(fabric: Fabric, plug: Plug) -> None:
    one, other = plug(A, 2), plug(A, 3)
    fabric.publish([Published("udp", "127.0.0.1", 8080, one.ip, 80)])
    fabric.open((A,), (other.place,), ())
    assert set(inside(fabric)) - {one.place.tap, other.place.tap} == {"lo", "uplink", A.device}
    one.close()
    assert set(inside(fabric)) == {"lo", "uplink", A.device, other.place.tap}
    assert {way.split()[0] for way in footprint().routes if "hyp-" in way} == {
        "10.1.0.0/24",
        "fd01::/64",
        "10.236.0.0/30",
    }
    assert one.place.tap not in elements(fabric)
    assert other.place.tap in elements(fabric)
    assert "8080" not in said("nft", "list", "ruleset")


def test_a_bridge_that_was_made_by_half_is_made_whole(fabric: Fabric, plug: Plug) -> None:
    """As where hyperd was killed in between."""
    with netlink(namespace=fabric.namespace) as route:
        route.do("half a network", [links.bridge(C.device, C.mtu, C.mac)])
    fabric.open((A, C), (), ())
    one = plug(C, 2)
    one.ask(one.gateway)
    assert one.hears(lambda frame: frame.source == one.gateway).from_mac == C.mac


def test_a_way_that_was_made_by_half_is_made_anew(host: PrivateHost, fabric: Fabric, plug: Plug) -> None:
    with netlink(namespace=fabric.namespace) as route:
        uplink = inside(fabric)["uplink"]["index"]
        ways = [each for each in links.routes(route, 4) if each["dst_len"] == 0]
        assert [each.get_attr("RTA_OIF") for each in ways] == [uplink]
        said("nsenter", "--net", "--target", str(fabric.namespace.pid), "ip", "route", "del", "default")
    one = plug(A, 2)
    fabric.open((A,), (one.place,), ())
    hello(host, one)


def kill_keeper(fabric: Fabric) -> None:
    """Whoever else is in the namespace keeps it, and its end of the link."""
    pidfd = os.pidfd_open(fabric.namespace.pid)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    os.close(pidfd)


@pytest.mark.parametrize("held", [False, True], ids=["", "a pod is left"])
def test_after_its_keeper_was_killed_it_is_opened_anew(
    host: PrivateHost, fabric: Fabric, plug: Plug, held: bool
) -> None:
    former = plug(A, 2)
    if not held:
        former.close()
    kill_keeper(fabric)
    assert not fabric.is_open
    fabric.open((A, B), (), ())
    assert fabric.is_open
    hello(host, plug(A, 3))
    assert len([name for name in footprint().links if name.startswith("hyp-")]) == 1


@pytest.mark.parametrize("held", [False, True], ids=["", "a pod is left"])
def test_after_its_keeper_was_killed_nothing_is_left_of_it(fabric: Fabric, plug: Plug, held: bool) -> None:
    former = plug(A, 2)
    if not held:
        former.close()
    kill_keeper(fabric)
    fabric.dissolve()
    fabric.dissolve()
    assert not [name for name in footprint().links if name.startswith("hyp-")]
    assert not footprint().tables


def test_two_fabrics_do_not_disturb_each_other(host: PrivateHost, tmp_path: Path) -> None:
    for program in ("iptables-nft", "ip6tables-nft"):
        said(program, "-P", "FORWARD", "DROP")
    with networks(tmp_path / "one", A) as one, plugging(one) as plug_one:
        first, alone = plug_one(A, 2), footprint()
        with networks(tmp_path / "two", B) as two, plugging(two) as plug_two:
            second = plug_two(B, 2)
            hello(host, first)
            hello(host, second)
            first.out(f.udp((first.ip, 1), (second.ip, 2), b"no way"))
            two.publish([Published("udp", "0.0.0.0", 8080, second.ip, 80)])
            first.out(f.udp((first.ip, 1), (str(HOST.ip), 8080), b"by a port"))
            assert not [each for each in second.before(b"by a port") if each.data == b"no way"]
            one.open((A,), (first.place,), ())
            hello(host, second)
        assert footprint() == alone
        hello(host, first)
    for family in ("ip", "ip6"):
        said("nft", "delete", "table", family, "filter")


class Broken(HostLink):
    """Fails where it is told to."""

    def __init__(self, mark: str, where: str) -> None:
        super().__init__(mark)
        self._where = where

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise OSError(5, where)

    def open(self, namespace: Namespace, inside: Netlink) -> None:
        super().open(namespace, inside)
        self._fail("open")

    def reset(self, subnets: object, ports: object) -> list[Subnet]:
        lost = super().reset(subnets, ports)  # type: ignore[arg-type]
        self._fail("reset")
        return lost

    def lead(self, subnets: object, *, gone: bool = False) -> None:
        super().lead(subnets, gone=gone)  # type: ignore[arg-type]
        if not gone:
            self._fail("lead")


@pytest.mark.parametrize("where", ["open", "reset", "lead"])
def test_an_opening_that_fails_leaves_nothing(host: PrivateHost, tmp_path: Path, where: str) -> None:
    before, folder = footprint(), tmp_path / "fabric"
    fabric = Fabric(folder, Broken("a test", where), user=False)
    with pytest.raises(OSError, match=where):
        fabric.open((A,), (), ())
    assert not fabric.is_open
    assert footprint() == before
    assert not folder.exists()
    with networks(folder, A):
        pass


def test_a_bridge_that_cannot_be_made_is_not_there_by_half(fabric: Fabric) -> None:
    before, there = footprint(), inside(fabric)
    same = replace(C, id="ee" * 32, subnets=(Subnet("192.0.2.0/24", "192.0.2.99"),), internal=True)
    with pytest.raises(NetlinkError, match=r"the way to 192\.0\.2\.0/24: File exists"):
        fabric.make(same)  # the host has a way there
    too_small = replace(C, mtu=10)
    with pytest.raises(NetlinkError, match=r"network dddddddddddd: .*[Mm][Tt][Uu]"):
        fabric.make(too_small)
    assert (footprint(), inside(fabric)) == (before, there)


def test_a_host_keeps_its_own_ways(host: PrivateHost, tmp_path: Path) -> None:
    """One that has come since a network was made stays, whoever opens and dissolves."""
    said("ip", "route", "add", "10.1.0.0/24", "dev", WAY_OUT)
    with networks(tmp_path / "fabric", A, C) as fabric:
        assert f"10.1.0.0/24 {WAY_OUT}" in footprint().routes
        assert f"10.4.0.0/24 {link(fabric)}" in footprint().routes
        fabric.remove(A)
        assert f"10.1.0.0/24 {WAY_OUT}" in footprint().routes
    assert f"10.1.0.0/24 {WAY_OUT}" in footprint().routes


def test_a_host_without_ipv6_has_networks_all_the_same(host: PrivateHost, tmp_path: Path) -> None:
    """As many are set up."""
    for name in ("all", "default"):
        (SETTINGS / f"ipv6/conf/{name}/disable_ipv6").write_text("1")
    with networks(tmp_path / "fabric", C) as fabric, plugging(fabric) as plug:
        hello(host, plug(C, 2))


@pytest.mark.parametrize(("before", "after"), [("0", "0"), ("1", "2"), ("2", "2")])
def test_a_host_that_begins_to_forward_keeps_its_way_out_of_ipv6(
    host: PrivateHost, tmp_path: Path, before: str, after: str
) -> None:
    setting = SETTINGS / f"ipv6/conf/{WAY_OUT}/accept_ra"
    setting.write_text(before)
    with networks(tmp_path / "fabric", C):
        assert setting.read_text().strip() == before  # nobody needs IPv6
        assert (SETTINGS / "ipv6/conf/all/forwarding").read_text().strip() == "0"
    with networks(tmp_path / "fabric", A):
        assert setting.read_text().strip() == after
        assert (SETTINGS / "ipv6/conf/all/forwarding").read_text().strip() == "1"


def test_who_forwards_already_is_told_nothing(host: PrivateHost, tmp_path: Path) -> None:
    setting = SETTINGS / f"ipv6/conf/{WAY_OUT}/accept_ra"
    (SETTINGS / "ipv6/conf/all/forwarding").write_text("1")
    setting.write_text("1")
    with networks(tmp_path / "fabric", A):
        assert setting.read_text().strip() == "1"


def test_a_place_that_is_there_by_half_goes_whole(fabric: Fabric, plug: Plug) -> None:
    one = plug(A, 2)
    with contextlib.closing(
        Netlink(fabric.namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER))
    ) as rules:
        batch = nft.Batch()
        batch.put(fabric._bridged, "addresses4", [(one.place.tap, one.ip)], gone=True)
        batch.commit(rules, "an address")
    fabric.unplug(one.place)
    assert one.place.tap not in elements(fabric)
    assert not inside(fabric)[one.place.tap]["up"]


def test_plugging_in_what_is_not_there_leaves_nothing(fabric: Fabric) -> None:
    with pytest.raises(NetlinkError):
        fabric.plug(Place("nobody", A, "52:54:00:00:00:01", ("10.1.0.9",)))
    assert "nobody" not in elements(fabric)


def test_of_one_name_there_is_one_device(fabric: Fabric, plug: Plug) -> None:
    one = plug(A, 2)
    with pytest.raises(OSError, match="busy"):
        netns.tap(fabric.namespace.control, one.place.tap)
    one.close()
    again = plug(A, 2)
    again.ask(again.gateway)
    again.hears(lambda frame: frame.source == again.gateway)


def test_a_vm_that_starts_again_has_its_device_again(fabric: Fabric) -> None:
    """The one before is let go of aside, and may be there still."""
    for _ in range(100):
        os.close(netns.tap(fabric.namespace.control, "t-again"))
        netns.drop(fabric.namespace.control, "t-again")


def many(count: int) -> list[Place]:
    return [
        Place(
            f"t-{number:08x}",
            LARGE,
            f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}",
            (f"10.64.{number >> 8}.{number & 255}", f"fd05::{number:x}"),
        )
        for number in range(2, count + 2)
    ]


LARGE = Bridge("ee" * 32, (Subnet("10.64.0.0/16", "10.64.0.1"), Subnet("fd05::/64", "fd05::1")), 1500)


def test_a_fabric_of_thousands_of_pods_is_opened_in_one_transaction(fabric: Fabric) -> None:
    places = many(4000)
    ports = [
        Published("tcp", "0.0.0.0", 20000 + number, place.addresses[0], 80)
        for number, place in enumerate(places)
    ]
    fabric.open((LARGE,), places, ports)
    text = elements(fabric)
    for each in (places[0], places[255], places[256], places[-1]):
        assert f'"{each.tap}" . {each.mac}' in text
        assert all(f'"{each.tap}" . {own}' in text for own in each.own)
    assert text.count('"t-0') == 4000 * 4
    assert (
        said("nft", "list", "map", "inet", f"hyper_{link(fabric).removeprefix('hyp-')}", "any4").count("tcp")
        == 4000
    )
    fabric.withdraw(ports)
    assert "tcp" not in said(
        "nft", "list", "map", "inet", f"hyper_{link(fabric).removeprefix('hyp-')}", "any4"
    )


@pytest.fixture
def open_files() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) == before


def test_pods_that_come_and_go_leave_nothing(open_files: None, fabric: Fabric) -> None:
    """In any order: unplugged before their VM ends, or after, or by nobody at all and then by the next hyperd."""
    chance, there, before = random.Random(7), footprint(), elements(fabric)
    devices = set(inside(fabric))
    pods: list[Pod] = []
    for number in range(rounds(short=300, soak=20_000)):
        if pods and (len(pods) == 20 or chance.random() < 0.5):
            one = pods.pop(chance.randrange(len(pods)))
            ends: list[Callable[[], None]] = [one.close, partial(fabric.unplug, one.place)]
            chance.shuffle(ends)
            for end in ends:
                end()
        else:
            bridge = chance.choice((A, B, INTERNAL))
            pods.append(pod(fabric, bridge, 2 + number % 250, name=f"{number:x}"))
    for one in pods:
        one.close()
    fabric.open((A, B, INTERNAL), (), ())
    until(lambda: set(inside(fabric)) == devices, "the last devices gone")  # one after the other
    assert (footprint(), elements(fabric)) == (there, before)
