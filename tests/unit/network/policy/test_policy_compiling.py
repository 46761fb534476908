"""What is told to the kernel says the same as the decision that is told to people, whatever the policy."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.contract.policies import EgressRule, NetworkPolicy
from hypercontainer.network.parts import METADATA, Address
from hypercontainer.network.policy.compiling import Compiled
from hypercontainer.network.policy.deciding import covers, decide
from hypercontainer.network.policy.language import ICMP, ICMP6, TCP, UDP, meaning

FOUR = (
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3",
    "9.9.9.0/24",
    "169.254.0.0/16",
    "169.254.169.254",
)
SIX = ("::/0", "2001:db8::/32", "2001:db8:1::/48", "fd00:ec2::254", "fd00::/8")
NAMES = ("api.example.com", "*.example.com", "example.org")
PORTS = (443, "443/udp", "80-90", "8000-8100", "53/udp", "1-65535", "ping", "85-8050/udp")
ADDRESSES: list[Address] = [
    *METADATA,
    *map(
        ipaddress.ip_address,
        (
            "10.1.2.3",
            "10.1.2.4",
            "10.2.0.1",
            "9.9.9.9",
            "8.8.8.8",
            "2001:db8:1::1",
            "2001:db8:2::1",
            "2600::1",
        ),
    ),
]
rules = st.builds(
    EgressRule,
    to=st.lists(st.sampled_from(FOUR + SIX + NAMES), min_size=1, max_size=4).map(tuple),
    except_=st.lists(st.sampled_from(FOUR[1:] + SIX[1:]), max_size=3).map(tuple),
    ports=st.lists(st.sampled_from(PORTS), max_size=4).map(tuple),
)
policies = st.lists(rules, max_size=5).map(lambda found: NetworkPolicy(tuple(found)))


def gates(compiled: Compiled, protocol: int, port: int) -> list[int]:
    found = compiled.elements["gates"]
    return [gate for _, its, (low, high), gate in found if its == protocol and low <= port <= high]


@given(
    policies,
    st.sampled_from([TCP, UDP, ICMP, ICMP6]),
    st.sampled_from([0, 53, 80, 85, 90, 91, 443, 8000, 8050, 8051, 65535]),
    st.sampled_from(ADDRESSES),
)
def test_the_sets_say_what_the_decision_says(
    policy: NetworkPolicy, protocol: int, port: int, address: Address
) -> None:
    means = meaning(policy)
    compiled = Compiled(7, means)
    found = gates(compiled, protocol, port)
    assert len(found) <= 1  # else the kernel would refuse it
    by_subnet = [
        gate
        for gate, (low, high) in compiled.elements[f"allowed{address.version}"]
        if gate in found and low <= address <= high
    ]
    assert len(by_subnet) <= 1
    assert decide(means, protocol, port, address).allowed == bool(by_subnet)
    for name in ("api.example.com", "example.org", "example.com"):
        by_name, _ = compiled.gates_of(name, address, ())
        told = bool(by_subnet) or bool(set(by_name) & set(found))
        assert decide(means, protocol, port, address, [name]).allowed == told


@given(policies)
def test_metadata_is_had_only_by_who_names_it(policy: NetworkPolicy) -> None:
    means = meaning(policy)
    for address in METADATA:
        named = any(str(address) in rule.to for rule in policy.egress or ())
        assert any(covers(way, address) for way in means.ways) == named
