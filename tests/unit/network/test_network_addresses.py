"""Subnets of networks and addresses in them: nobody has what another has, and what is asked for is had or refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercontainer.contract.networks import Subnet
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, Unavailable
from hypercontainer.network import addresses
from hypercontainer.network.addresses import (
    LARGE_POOL,
    LINK_POOL,
    POOL,
    check_static,
    checked,
    chosen,
    chosen6,
    free,
)
from hypercontainer.network.parts import Network

POOLS = (LARGE_POOL, POOL, LINK_POOL)


@st.composite
def networks(draw: st.DrawFn, *, least: int = 0, most: int = 128) -> Network:
    version = draw(st.sampled_from((4, 6)))
    bits = 32 if version == 4 else 128
    prefix = draw(st.integers(min(least, bits), min(most, bits)))
    number = draw(st.integers(0, (1 << bits) - 1))
    kind = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    return kind((number >> (bits - prefix) << (bits - prefix), prefix))


@st.composite
def near(draw: st.DrawFn, pool: str) -> Network:
    """One that may meet the pool."""
    base = ipaddress.ip_network(pool)
    prefix = draw(st.integers(8, 32))
    number = int(base.network_address) + draw(st.integers(0, base.num_addresses - 1))
    return ipaddress.IPv4Network((number >> (32 - prefix) << (32 - prefix), prefix))


@st.composite
def usable(draw: st.DrawFn) -> Network:
    """A subnet that networks may have."""
    prefixes = [*((4, each) for each in range(8, 31)), *((6, each) for each in range(16, 127))]
    version, prefix = draw(st.sampled_from(prefixes))
    if version == 4:
        first, rest = (
            draw(st.sampled_from((1, 10, 100, 126, 172, 192, 223))),
            draw(st.integers(0, (1 << 24) - 1)),
        )
        return ipaddress.IPv4Network((((first << 24) | rest) >> (32 - prefix) << (32 - prefix), prefix))
    top, rest = draw(st.sampled_from((0x2001, 0x3FFF, 0xFC00, 0xFDFF))), draw(st.integers(0, (1 << 112) - 1))
    return ipaddress.IPv6Network((((top << 112) | rest) >> (128 - prefix) << (128 - prefix), prefix))


def within(one: Network, other: str) -> bool:
    whole = ipaddress.ip_network(other)
    return one.overlaps(whole) and one.prefixlen >= whole.prefixlen


class TestChosen:
    @pytest.mark.parametrize("pool", POOLS)
    @settings(max_examples=40)
    @given(data=st.data())
    def test_it_is_of_the_pool_and_meets_nobodys(self, pool: tuple[str, int], data: st.DataObject) -> None:
        taken = data.draw(st.lists(near(pool[0]) | networks(), max_size=12))
        try:
            found = chosen(pool, taken)
        except Unavailable:
            others = [each for each in taken if each.version == 4 and each.prefixlen]
            for each in ipaddress.IPv4Network(pool[0]).subnets(new_prefix=pool[1]):
                assert any(each.overlaps(other) for other in others)
            return
        assert within(found, pool[0])
        assert found.prefixlen == pool[1]
        assert not any(each.version == 4 and each.prefixlen and each.overlaps(found) for each in taken)

    def test_a_way_to_everywhere_is_nobodys_subnet(self) -> None:
        everywhere = [ipaddress.ip_network(text) for text in ("0.0.0.0/0", "::/0")]
        assert str(chosen(LARGE_POOL, everywhere)) == "10.224.0.0/18"

    def test_each_that_is_taken_leaves_another_until_none_is_left(self) -> None:
        taken: list[Network] = []
        for _ in range(1024):
            taken.append(chosen(POOL, taken))
        assert len(set(taken)) == 1024
        with pytest.raises(Unavailable, match=r"all of 10\.232\.0\.0/14 is in use"):
            chosen(POOL, taken)

    def test_pools_do_not_meet(self) -> None:
        bases = [ipaddress.ip_network(base) for base, _ in POOLS]
        assert not any(one is not other and one.overlaps(other) for one in bases for other in bases)

    def test_of_ipv6_there_is_one_of_ones_own(self) -> None:
        found = {chosen6() for _ in range(200)}
        assert len(found) == 200
        assert all(within(each, "fd00::/8") and each.prefixlen == 64 for each in found)


class TestChecked:
    @given(subnet=usable())
    def test_without_a_gateway_it_is_the_first(self, subnet: Network) -> None:
        made = checked(Subnet(str(subnet)), ())
        assert made == Subnet(str(subnet), str(subnet[1]), "")

    @given(subnet=usable(), data=st.data())
    def test_a_gateway_is_one_of_the_machines_addresses(self, subnet: Network, data: st.DataObject) -> None:
        place = data.draw(st.integers(1, subnet.num_addresses - 2))
        assert checked(Subnet(str(subnet), str(subnet[place])), ()).gateway == str(subnet[place])
        for edge in (subnet[0], subnet[-1]):
            with pytest.raises(InvalidArgument, match="no address of one machine"):
                checked(Subnet(str(subnet), str(edge)), ())

    @given(subnet=usable(), others=st.lists(networks(), max_size=5))
    def test_it_meets_nobodys(self, subnet: Network, others: list[Network]) -> None:
        met = any(
            each.version == subnet.version and each.prefixlen and each.overlaps(subnet) for each in others
        )
        if not met:
            assert checked(Subnet(str(subnet)), others).subnet == str(subnet)
        else:
            with pytest.raises(Conflict, match="overlaps"):
                checked(Subnet(str(subnet)), others)

    @pytest.mark.parametrize("other", ["10.89.0.0/24", "10.89.0.128/25", "10.0.0.0/8", "10.89.0.7/32"])
    def test_whatever_way_it_meets_it(self, other: str) -> None:
        with pytest.raises(Conflict):
            checked(Subnet("10.89.0.0/24"), [ipaddress.ip_network(other)])

    @pytest.mark.parametrize(
        "text", ["10.89.0.0/30", "10.89.0.0/29", "10.89.0.0/16", "fd00::/64", "fd00::/126"]
    )
    def test_small_and_large_ones(self, text: str) -> None:
        assert checked(Subnet(text), ()).subnet == text

    @pytest.mark.parametrize(
        ("wish", "field"),
        [
            (Subnet(""), "subnets"),
            (Subnet("10.89.0.0/31"), "subnets"),
            (Subnet("10.89.0.1/32"), "subnets"),
            (Subnet("10.89.0.1"), "subnets"),
            (Subnet("fd00::/127"), "subnets"),
            (Subnet("10.89.0.1/24"), "subnets"),  # an address, not a network
            (Subnet("10.89.0.0/33"), "subnets"),
            (Subnet("10.89.0/24"), "subnets"),
            (Subnet("bridge"), "subnets"),
            (Subnet("10.89.0.0/24 "), "subnets"),
            (Subnet("10.89.0.0/24\n"), "subnets"),
            (Subnet("127.0.0.0/24"), "subnets"),
            (Subnet("224.0.0.0/24"), "subnets"),
            (Subnet("::1/128"), "subnets"),
            (Subnet("fe80::/64"), "subnets"),
            (Subnet("ff02::/64"), "subnets"),
            (Subnet("0.0.0.0/0"), "subnets"),
            (Subnet("::/0"), "subnets"),
            (Subnet("0.0.0.0/1"), "subnets"),
            (Subnet("169.254.0.0/16"), "subnets"),  # where pods ask for names
            (Subnet("240.0.0.0/24"), "subnets"),
            (Subnet("::ffff:10.0.0.0/104"), "subnets"),
            (Subnet("fd00::/64", "fd00::1%eth0"), "gateway"),
            (Subnet("10.89.0.0/24", "10.90.0.1"), "gateway"),
            (Subnet("10.89.0.0/24", "fd00::1"), "gateway"),
            (Subnet("10.89.0.0/24", "10.89.0.1/24"), "gateway"),
            (Subnet("10.89.0.0/24", "me"), "gateway"),
            (Subnet("10.89.0.0/24", "10.89.0.255"), "gateway"),
            (Subnet("10.89.0.0/24", "", "10.90.0.0/25"), "ip_range"),
            (Subnet("10.89.0.0/24", "", "10.88.0.0/15"), "ip_range"),
            (Subnet("10.89.0.0/24", "", "fd00::/64"), "ip_range"),
            (Subnet("10.89.0.0/24", "", "10.89.0.5-10.89.0.9"), "ip_range"),
        ],
    )
    def test_what_is_wrong_is_named(self, wish: Subnet, field: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            checked(wish, ())
        assert caught.value.field == field

    @given(text=st.text(max_size=80), gateway=st.text(max_size=40), pool=st.text(max_size=40))
    def test_whatever_is_asked_it_is_had_or_refused(self, text: str, gateway: str, pool: str) -> None:
        for wish in (
            Subnet(text, gateway, pool),
            Subnet("10.89.0.0/24", gateway),
            Subnet("fd00::/64", "", pool),
        ):
            try:
                checked(wish, ())
            except HyperError as error:
                assert len(error.message) < 400

    def test_a_part_of_it_is_for_pods(self) -> None:
        assert checked(Subnet("10.89.0.0/24", "", "10.89.0.128/25"), ()).ip_range == "10.89.0.128/25"

    @pytest.mark.parametrize(
        ("subnets", "doubled"),
        [
            ((), False),
            (("10.1.0.0/24",), False),
            (("10.1.0.0/24", "fd00::/64"), False),
            (("10.1.0.0/24", "10.2.0.0/24"), True),
            (("fd01::/64", "10.1.0.0/24", "fd00::/64"), True),
        ],
    )
    def test_two_of_one_version_are_seen(self, subnets: Sequence[str], doubled: bool) -> None:
        assert addresses.doubled([Subnet(each) for each in subnets]) == doubled


class TestFree:
    @given(subnet=usable(), data=st.data())
    def test_it_is_nobodys_and_one_that_may_be_asked_for(self, subnet: Network, data: st.DataObject) -> None:
        whole = checked(Subnet(str(subnet)), ())
        places = st.integers(0, min(subnet.num_addresses, 1 << 20) - 1)
        taken = {str(subnet[place]) for place in data.draw(st.lists(places, max_size=8))}
        try:
            found = free(whole, taken)
        except Unavailable:
            assert len({*taken, whole.gateway, str(subnet[0]), str(subnet[-1])}) == subnet.num_addresses
            return
        assert found not in taken
        assert check_static(found, whole, taken) == found

    @pytest.mark.parametrize(
        ("subnet", "count"),
        [
            (Subnet("10.89.0.0/30", "10.89.0.1"), 1),
            (Subnet("10.89.0.0/29", "10.89.0.1"), 5),
            (Subnet("10.89.0.0/29", "10.89.0.4"), 5),
            (Subnet("10.89.0.0/24", "10.89.0.1"), 253),
            (Subnet("fd00::/126", "fd00::1"), 1),
            (Subnet("10.89.0.0/24", "10.89.0.1", "10.89.0.0/30"), 2),
            (Subnet("10.89.0.0/24", "10.89.0.1", "10.89.0.252/30"), 3),
            (Subnet("10.89.0.0/24", "10.89.0.9", "10.89.0.8/30"), 3),
            (Subnet("10.89.0.0/24", "10.89.0.1", "10.89.0.7/32"), 1),
            (Subnet("10.89.0.0/24", "10.89.0.1", "10.89.0.0/24"), 253),
            (Subnet("10.89.0.0/24", "10.89.0.1", "10.89.0.1/32"), 0),
        ],
    )
    def test_all_there_are_are_had_and_then_none(self, subnet: Subnet, count: int) -> None:
        pool = ipaddress.ip_network(subnet.ip_range or subnet.subnet)
        taken: set[str] = set()
        for _ in range(count):
            found = free(subnet, taken)
            assert found not in taken
            assert ipaddress.ip_address(found) in pool
            taken.add(found)
        with pytest.raises(Unavailable, match=f"all addresses of {pool}"):
            free(subnet, taken)
        if taken:
            given_back = taken.pop()
            assert free(subnet, taken) == given_back

    def test_a_static_address_is_not_handed_out_outside_of_the_range(self) -> None:
        subnet = Subnet("10.89.0.0/24", "10.89.0.1", "10.89.0.128/25")
        assert check_static("10.89.0.5", subnet, ()) == "10.89.0.5"
        assert all(int(free(subnet, ()).rpartition(".")[2]) >= 128 for _ in range(50))

    def test_of_a_large_subnet_the_last_is_found_quickly(self) -> None:
        """65,533 pods, and room for one more."""
        subnet = Subnet("10.224.0.0/16", "10.224.0.1")
        network = ipaddress.IPv4Network(subnet.subnet)
        taken = {str(each) for each in network.hosts()} - {"10.224.200.7"}
        assert free(subnet, taken) == "10.224.200.7"

    def test_what_was_free_a_moment_ago_is_another_now(self) -> None:
        subnet = Subnet("10.224.0.0/16", "10.224.0.1")
        assert len({free(subnet, ()) for _ in range(50)}) > 40


class TestStatic:
    SUBNET = Subnet("10.89.0.0/24", "10.89.0.1")
    SUBNET6 = Subnet("fd00::/64", "fd00::1")

    @pytest.mark.parametrize(
        ("text", "subnet", "kind"),
        [
            ("10.89.0.1", SUBNET, InvalidArgument),
            ("10.89.0.0", SUBNET, InvalidArgument),
            ("10.89.0.255", SUBNET, InvalidArgument),
            ("10.89.1.5", SUBNET, InvalidArgument),
            ("fd00::5", SUBNET, InvalidArgument),
            ("10.89.0.5/24", SUBNET, InvalidArgument),
            ("010.89.0.5", SUBNET, InvalidArgument),
            ("10.89.0", SUBNET, InvalidArgument),
            ("", SUBNET, InvalidArgument),
            ("10.89.0.7", SUBNET, Conflict),
            ("fd00::1", SUBNET6, InvalidArgument),
            ("fd00::", SUBNET6, InvalidArgument),
            ("fd00::ffff:ffff:ffff:ffff", SUBNET6, InvalidArgument),
            ("fd00:0::7", SUBNET6, Conflict),
            ("FD00::7", SUBNET6, Conflict),
            ("fd00::5%eth0", SUBNET6, InvalidArgument),
            ("fd00::7%eth0", SUBNET6, InvalidArgument),  # another pod's
            ("fd01::5", SUBNET6, InvalidArgument),
            ("10.89.0.5", SUBNET6, InvalidArgument),
        ],
    )
    def test_what_is_not_to_be_had(self, text: str, subnet: Subnet, kind: type[HyperError]) -> None:
        with pytest.raises(kind):
            check_static(text, subnet, {"10.89.0.7", "fd00::7"})

    def test_it_is_told_as_everybody_writes_it(self) -> None:
        assert check_static("FD00:0:0::AB", self.SUBNET6, ()) == "fd00::ab"
