"""Requests to the kernel and what becomes of them: its own words, all or nothing, and no trace in the next request."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence

import pytest

from hypercontainer.errors import Unavailable
from hypercontainer.network import links, nft
from hypercontainer.network.netlink import NETFILTER, ROUTE, Netlink, NetlinkError, nothing_there
from hypercontainer.network.nft import INET, Batch, Chain, Table
from hypercontainer.network.sets import IFNAME, IP4, IP6, MAC, PORT, PROTOCOL, Set
from private_host import PrivateHost, netlink, said

NAMES = Set("names", (IFNAME, PROTOCOL))
PAIRS = Set("pairs", (IFNAME, MAC))
DOORS = Set("doors", (PROTOCOL, PORT), (IP4, PORT))
DOORS6 = Set("doors6", (IP6, PROTOCOL, PORT), (IP6, PORT))
NETS, NETS6 = Set("nets", (IP4,), intervals=True), Set("nets6", (IP6,), intervals=True)
TABLE = Table(INET, "tried", (NAMES, PAIRS, DOORS, DOORS6, NETS, NETS6), (Chain("one", ()),))
NONE = Table(INET, "not there", (NAMES,))


@pytest.fixture
def rules(host: PrivateHost) -> Iterator[Netlink]:
    with netlink(NETFILTER) as made:
        batch = Batch()
        batch.make(TABLE)
        batch.commit(made, "a table")
        yield made


@pytest.fixture
def route(host: PrivateHost) -> Iterator[Netlink]:
    with netlink(ROUTE) as made:
        yield made


def put(
    rules: Netlink, name: str, *elements: Sequence[str | int], gone: bool = False, forget: bool = False
) -> None:
    batch = Batch()
    if forget:
        batch.forget(TABLE, name, elements)
    else:
        batch.put(TABLE, name, elements, gone=gone)
    batch.commit(rules, f"elements of {name}")


def there(name: str) -> str:
    """The elements of a set as nft prints them, on one line; "" where there are none."""
    kind = "map" if TABLE.set(name).data else "set"
    text = " ".join(said("nft", "list", kind, "inet", TABLE.name, name).split())
    return text.partition("elements = { ")[2].partition(" }")[0]


def named(*names: str) -> list[list[str | int]]:
    return [[name, 6] for name in names]


def names() -> list[str]:
    return sorted(re.findall(r'"(.+?)" \. tcp', there("names")))


def devices(route: Netlink) -> set[str]:
    return {each.get_attr("IFLA_IFNAME") for each in links.links(route)}


class TestErrors:
    def test_they_carry_the_kernels_number_and_its_words(self, route: Netlink) -> None:
        with pytest.raises(NetlinkError, match=r"^a bridge: .*mtu") as caught:
            route.do("a bridge", [links.bridge("b0", 10, "02:00:00:00:00:01")])
        assert caught.value.number == errno.EINVAL
        assert isinstance(caught.value, Unavailable)

    def test_where_the_kernel_has_none_they_are_the_numbers(self, route: Netlink) -> None:
        with pytest.raises(NetlinkError, match=r"^a link: No such device$") as caught:
            route.do("a link", [links.delete(9999)])
        assert caught.value.number == errno.ENODEV

    def test_of_several_requests_the_first_refusal_counts_and_the_others_are_done(
        self, route: Netlink
    ) -> None:
        """Interfaces are no transaction."""
        those = [links.bridge("b0", 1500, "02:00:00:00:00:01"), links.delete(9999)]
        those += [
            links.bridge("b0", 1500, "02:00:00:00:00:01"),
            links.bridge("b1", 1500, "02:00:00:00:00:02"),
        ]
        with pytest.raises(NetlinkError) as caught:
            route.do("bridges", those)
        assert caught.value.number == errno.ENODEV
        assert {"b0", "b1"} <= devices(route)

    def test_nothing_there_is_no_error_where_it_is_to_go(self, route: Netlink) -> None:
        with nothing_there():
            route.do("a link", [links.delete(9999)])
        with pytest.raises(NetlinkError), nothing_there():
            route.do("a bridge", [links.bridge("b0", 10, "02:00:00:00:00:01")])

    def test_a_refused_request_does_not_disturb_the_next(self, route: Netlink, rules: Netlink) -> None:
        for _ in range(3):
            with pytest.raises(NetlinkError):
                route.do("links", [links.delete(9999)] * 20)
            assert "lo" in devices(route)
            with pytest.raises(NetlinkError):
                put(rules, "names", *named(*(f"x{number}" for number in range(600))), gone=True)
            put(rules, "names", *named("one"))
            put(rules, "names", *named("one"), gone=True)
            assert nft.has_chain(rules, TABLE, "one")

    def test_thousands_of_refusals_do_not_disturb_the_next(self, route: Netlink) -> None:
        with pytest.raises(NetlinkError) as caught:
            route.do("links", [links.delete(9999)] * 5000)
        assert caught.value.number == errno.ENODEV
        assert "lo" in devices(route)
        route.do("a bridge", [links.bridge("b0", 1500, "02:00:00:00:00:01")])

    def test_who_does_not_answer_is_given_up(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            asking = Netlink.__new__(Netlink)
            asking._sock, asking._sequence = one, 0
            one.settimeout(0.01)
            with pytest.raises(NetlinkError, match="timed out"):
                next(asking._receive("an answer"))


class TestTransactions:
    def test_all_or_nothing(self, rules: Netlink) -> None:
        put(rules, "names", *named("kept"))
        batch = Batch()
        batch.put(TABLE, "names", named("new"))
        batch.put(TABLE, "names", named("kept"), gone=True)
        batch.put(TABLE, "pairs", [["a", "02:00:00:00:00:01"]])
        batch.put(TABLE, "names", named("nobody"), gone=True)
        with pytest.raises(NetlinkError) as caught:
            batch.commit(rules, "all of it")
        assert caught.value.number == errno.ENOENT
        assert (names(), there("pairs")) == (["kept"], "")

    def test_a_table_is_made_in_place_of_one_of_its_name(self, rules: Netlink) -> None:
        put(rules, "names", *named("former"))
        batch = Batch()
        batch.make(TABLE)
        batch.put(TABLE, "names", named("new"))
        batch.commit(rules, "anew")
        assert names() == ["new"]

    def test_a_table_that_cannot_be_made_leaves_the_former(self, rules: Netlink) -> None:
        put(rules, "names", *named("former"))
        batch = Batch()
        batch.make(TABLE)
        batch.put(NONE, "names", named("x"))
        with pytest.raises(NetlinkError):
            batch.commit(rules, "anew")
        assert names() == ["former"]

    def test_a_table_is_removed_whether_it_is_there_or_not(self, rules: Netlink) -> None:
        for _ in range(2):
            batch = Batch()
            batch.remove(TABLE)
            batch.commit(rules, "away")
        assert said("nft", "list", "tables") == ""

    def test_an_empty_one_is_none(self, rules: Netlink) -> None:
        batch = Batch()
        batch.put(TABLE, "names", [])
        batch.commit(rules, "nothing")

    def test_it_is_of_the_sockets_namespace(self, host: PrivateHost) -> None:
        with netlink(NETFILTER, host.world) as rules:
            batch = Batch()
            batch.make(TABLE)
            batch.commit(rules, "a table")
            assert nft.has_chain(rules, TABLE, "one")
        assert said("nft", "list", "tables") == ""
        with netlink(NETFILTER) as here, netlink(ROUTE, host.world) as far, netlink(ROUTE) as near:
            assert not nft.has_chain(here, TABLE, "one")
            assert (devices(far), devices(near)) == ({"lo", "world0"}, {"lo", "eth0"})


class TestElements:
    @pytest.mark.parametrize("count", [1, 255, 256, 257, 3000])
    def test_many_at_once(self, rules: Netlink, count: int) -> None:
        doors: list[list[str | int]] = [[6, 1 + number, "10.1.0.2", 80] for number in range(count)]
        put(rules, "doors", *doors)
        assert there("doors").count("tcp") == count
        put(rules, "doors", *(door[:2] for door in doors[1:]), gone=True)
        assert there("doors") == "tcp . 1 : 10.1.0.2 . 80"

    def test_as_nft_reads_them(self, rules: Netlink) -> None:
        put(rules, "names", *named("x" * 15))
        put(rules, "pairs", ["t-0123456789ab", "52:54:00:12:34:56"])
        put(rules, "doors", [6, 65535, "10.1.0.2", 1], [17, 1, "255.255.255.254", 65535])
        put(rules, "doors6", ["2001:db8::1", 17, 53, "fd00::2", 5353])
        assert names() == ["x" * 15]
        assert there("pairs") == '"t-0123456789ab" . 52:54:00:12:34:56'
        assert sorted(there("doors").split(", ")) == [
            "tcp . 65535 : 10.1.0.2 . 1",
            "udp . 1 : 255.255.255.254 . 65535",
        ]
        assert there("doors6") == "2001:db8::1 . udp . 53 : fd00::2 . 5353"

    def test_what_is_there_may_be_put_again(self, rules: Netlink) -> None:
        for _ in range(2):
            put(rules, "names", *named("one", "two", "one"))
            put(rules, "doors", [6, 80, "10.1.0.2", 80])
        assert names() == ["one", "two"]

    def test_a_key_leads_to_one_place(self, rules: Netlink) -> None:
        put(rules, "doors", [6, 80, "10.1.0.2", 80])
        with pytest.raises(NetlinkError) as caught:
            put(rules, "doors", [6, 81, "10.1.0.3", 80], [6, 80, "10.1.0.3", 80])
        assert caught.value.number in (errno.EEXIST, errno.EBUSY)
        assert there("doors") == "tcp . 80 : 10.1.0.2 . 80"

    def test_to_remove_what_is_not_there_changes_nothing(self, rules: Netlink) -> None:
        put(rules, "names", *named("one", "two"))
        with pytest.raises(NetlinkError) as caught:
            put(rules, "names", *named("one", "nobody"), gone=True)
        assert caught.value.number == errno.ENOENT
        with nothing_there():
            put(rules, "names", *named("one", "nobody"), gone=True)
        assert names() == ["one", "two"]

    def test_to_forget_what_is_not_there_takes_what_is(self, rules: Netlink) -> None:
        put(rules, "names", *named("one", "two"))
        put(rules, "names", *named("one", "nobody"), forget=True)
        assert names() == ["two"]
        put(rules, "doors", [6, 80, "10.1.0.2", 80])
        put(rules, "doors", [6, 80, "10.1.0.2", 80], [6, 81, "10.1.0.2", 80], forget=True)
        assert there("doors") == ""

    def test_to_forget_what_leads_elsewhere_is_refused(self, rules: Netlink) -> None:
        put(rules, "doors", [6, 80, "10.1.0.2", 80])
        with pytest.raises(NetlinkError):
            put(rules, "doors", [6, 80, "10.1.0.3", 80], forget=True)
        assert there("doors") == "tcp . 80 : 10.1.0.2 . 80"

    @pytest.mark.parametrize(
        ("name", "subnets"),
        [
            ("nets", ["10.0.0.0/8"]),
            ("nets", ["10.1.2.3/32", "10.1.2.5/32"]),
            ("nets", ["224.0.0.0/3"]),  # whose last address is the last of all
            ("nets", ["255.255.255.255/32"]),
            ("nets", ["0.0.0.0/8"]),
            ("nets6", ["fd00::/64", "2001:db8::1/128"]),
            ("nets6", ["ff00::/8"]),
        ],
    )
    def test_subnets(self, rules: Netlink, name: str, subnets: list[str]) -> None:
        put(rules, name, *([each] for each in subnets))
        shown = {str(ipaddress.ip_network(each)) for each in there(name).split(", ")}
        assert shown == set(subnets)
        put(rules, name, *([each] for each in subnets), gone=True)
        assert there(name) == ""


class TestOthersRules:
    def test_a_chain_that_is_not_there_has_no_rules(self, rules: Netlink) -> None:
        assert not nft.has_chain(rules, NONE, "one")
        assert not nft.has_chain(rules, TABLE, "two")
        with nothing_there():
            assert nft.rules_of(rules, NONE, "one") == []

    def test_rules_are_put_in_at_the_beginning_and_taken_out_again(self, rules: Netlink) -> None:
        said("nft", "add", "rule", "inet", "tried", "one", "counter")
        batch = Batch()
        batch.insert(TABLE, "one", [*nft.by_interface("IIFNAME", "lo"), nft.verdict(nft.ACCEPT)])
        batch.commit(rules, "a rule")
        lines = [line.strip() for line in said("nft", "list", "chain", "inet", "tried", "one").splitlines()]
        assert lines[2] == 'iifname "lo" accept'
        first, other = nft.rules_of(rules, TABLE, "one")
        for _ in range(2):
            batch = Batch()
            batch.delete_rule(TABLE, "one", first.get_attr("NFTA_RULE_HANDLE"))
            with contextlib.ExitStack() as expected:
                if _:
                    expected.enter_context(pytest.raises(NetlinkError))
                batch.commit(rules, "a rule")
        (left,) = nft.rules_of(rules, TABLE, "one")
        assert left.get_attr("NFTA_RULE_HANDLE") == other.get_attr("NFTA_RULE_HANDLE")
