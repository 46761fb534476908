"""What may be written in a policy, what it means, and how it is refused what may not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.errors import InvalidArgument
from hypercontainer.network.policy.compiling import ELEMENTS_MAX, Compiled
from hypercontainer.network.policy.language import EVERYTHING, PING, TCP, UDP, Meaning, Ports, meaning


def read(*rules: dict[str, Any], **limits: Any) -> Meaning:
    return meaning(msgspec.convert({"egress": rules, "limits": limits}, NetworkPolicy))


def test_ports_are_of_tcp_unless_they_say_else() -> None:
    (way,) = read({"to": ["10.0.0.0/8"], "ports": [443, "80", "8000-8100", "53/udp", "1-2/tcp", "ping"]}).ways
    assert way.ports == (
        Ports(TCP, 443, 443),
        Ports(TCP, 80, 80),
        Ports(TCP, 8000, 8100),
        Ports(UDP, 53, 53),
        Ports(TCP, 1, 2),
        *PING,
    )
    (way,) = read({"to": ["10.0.0.0/8"]}).ways
    assert way.ports == EVERYTHING


def test_subnets_addresses_and_names_are_told_apart() -> None:
    to = [
        "10.0.0.0/8",
        "10.1.2.3",
        "2001:db8::/32",
        "2001:db8::1",
        "API.example.com.",
        "*.pypi.org",
        "localhost",
    ]
    (way,) = read({"to": to, "except": ["10.1.0.0/16"]}).ways
    assert [str(each) for each in way.networks] == [
        "10.0.0.0/8",
        "10.1.2.3/32",
        "2001:db8::/32",
        "2001:db8::1/128",
    ]
    assert way.names == ("api.example.com", "*.pypi.org", "localhost")
    assert [str(each) for each in way.excepted] == ["10.1.0.0/16"]
    assert way.names_host("files.pypi.org") and way.names_host("a.b.pypi.org")
    assert (
        not way.names_host("pypi.org") and not way.names_host("xpypi.org") and not way.names_host(".pypi.org")
    )


def test_limits_have_units() -> None:
    means = meaning(
        msgspec.convert({"limits": {"out": "10Mbit", "in": "1.5gbit", "connections": 9}}, NetworkPolicy)
    )
    assert (means.out_rate, means.in_rate, means.connections) == (1_250_000, 187_500_000, 9)
    assert not means.restricted


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({}, "egress[0]"),
        ({"to": ["10.0.0.0/8"], "http": ["a.org"]}, "egress[0]"),
        ({"to": ["10.0.0.1/8"]}, "egress[0].to[0]"),
        ({"to": ["10.0.0.0/8", "1.2.3"]}, "egress[0].to[1]"),
        ({"to": ["0x7f.1"]}, "egress[0].to[0]"),
        ({"to": ["*"]}, "egress[0].to[0]"),
        ({"to": ["a.*.org"]}, "egress[0].to[0]"),
        ({"to": ["a b.org"]}, "egress[0].to[0]"),
        ({"to": [""]}, "egress[0].to[0]"),
        ({"to": ["fe80::1%eth0"]}, "egress[0].to[0]"),
        ({"to": ["10.0.0.0/8"], "except": ["a.org"]}, "egress[0].except[0]"),
        ({"to": ["10.0.0.0/8"], "ports": [0]}, "egress[0].ports[0]"),
        ({"to": ["10.0.0.0/8"], "ports": [80, 65536]}, "egress[0].ports[1]"),
        ({"to": ["10.0.0.0/8"], "ports": ["9-8"]}, "egress[0].ports[0]"),
        ({"to": ["10.0.0.0/8"], "ports": ["80/sctp"]}, "egress[0].ports[0]"),
        ({"to": ["10.0.0.0/8"], "ports": ["-1"]}, "egress[0].ports[0]"),
        ({"to": ["10.0.0.0/8"], "methods": ["GET"]}, "egress[0].methods"),
        ({"to": ["10.0.0.0/8"], "paths": ["/"]}, "egress[0].paths"),
        ({"http": ["a.org"], "ports": [443]}, "egress[0].ports"),
        ({"http": ["a.org"], "except": ["10.0.0.0/8"]}, "egress[0].except"),
        ({"http": ["a b"]}, "egress[0]"),
        ({"to": ["10.0.0.0/8"] * 600}, "egress[0]"),
        ({"to": ["10.0.0.0/8"], "ports": [1] * 65}, "egress[0]"),
    ],
)
def test_what_is_wrong_is_named(rule: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(rule)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"out": "10"}, "limits.out"),
        ({"in": "10MB"}, "limits.in"),
        ({"in": "1bit"}, "limits.in"),
        ({"out": "99Tbit"}, "limits.out"),
        ({"out": "-1Mbit"}, "limits.out"),
        ({"connections": -1}, "limits.connections"),
        ({"connections": 65536}, "limits.connections"),
    ],
)
def test_limits_are_within_bounds(limits: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(**limits)
    assert caught.value.field == field


def test_a_policy_says_something() -> None:
    with pytest.raises(InvalidArgument):
        meaning(NetworkPolicy())
    assert meaning(NetworkPolicy(egress=())) == Meaning(restricted=True)


def test_what_is_too_large_for_the_kernel_is_refused() -> None:
    holes = [f"10.{a}.{b}.0/30" for a in range(4) for b in range(0, 256, 2)]
    rules = [{"to": ["10.0.0.0/8"], "except": holes[:510], "ports": [f"{port}/tcp"]} for port in range(1, 64)]
    with pytest.raises(InvalidArgument, match=str(ELEMENTS_MAX)):
        _ = Compiled(1, read(*rules)).elements


@pytest.mark.parametrize("field", ["egres", "limit"])
def test_unknown_fields_are_refused(field: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert({field: []}, NetworkPolicy)
