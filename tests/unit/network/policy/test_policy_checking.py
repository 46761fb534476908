"""What is told of a URL: which rule allows it, or why none does."""

from __future__ import annotations

import ipaddress

import pytest

from hypercontainer.contract.policies import EgressRule, NetworkPolicy
from hypercontainer.errors import InvalidArgument
from hypercontainer.network.egress.rules import HttpRule
from hypercontainer.network.policy.checking import Led, Place, check, parsed
from hypercontainer.network.policy.deciding import proxied
from hypercontainer.network.policy.language import Meaning, meaning

POLICY = meaning(
    NetworkPolicy(
        (
            EgressRule(("10.0.0.0/8",), ports=(5432, "53/udp", "ping")),
            EgressRule(("*.pypi.org",), ports=(443,)),
            EgressRule(http=("api.github.com",), methods=("GET",), paths=("/repos/*",)),
        )
    )
)
PYPI, ELSEWHERE = ipaddress.ip_address("151.101.0.223"), ipaddress.ip_address("20.0.0.1")
LED = Led(
    lambda address: ["files.pypi.org"] if address == PYPI else [],
    lambda name: {"files.pypi.org": [PYPI], "other.org": [ELSEWHERE]}.get(name, []),
)


@pytest.mark.parametrize(
    ("url", "method", "rule"),
    [
        ("tcp://10.1.2.3:5432", "GET", 0),
        ("tcp://10.1.2.3:5433", "GET", None),
        ("udp://10.1.2.3:53", "GET", 0),
        ("icmp://10.1.2.3", "GET", 0),
        ("icmp://[2600::1]", "GET", None),
        ("tcp://11.1.2.3:5432", "GET", None),
        ("https://files.pypi.org/simple", "GET", 1),
        ("https://new.pypi.org/simple", "GET", 1),  # it has led nowhere yet
        ("http://files.pypi.org/simple", "GET", None),
        ("https://pypi.org/", "GET", None),
        ("https://151.101.0.223/", "GET", 1),
        ("https://151.101.0.224/", "GET", None),
        ("https://other.org/", "GET", None),
        ("https://api.github.com/repos/x?y=1", "GET", 2),
        ("https://API.github.com./repos/x", "GET", 2),
        ("https://api.github.com/repos/x", "POST", None),
        ("https://api.github.com/gists", "GET", None),
        ("https://api.github.com:8443/repos/x", "GET", None),
        ("tcp://169.254.169.254:80", "GET", None),
    ],
)
def test_the_rule_is_named(url: str, method: str, rule: int | None) -> None:
    verdict, _ = check(POLICY, parsed(url), method, LED)
    assert verdict.rule == rule and verdict.allowed == (rule is not None) and verdict.reason


def test_without_a_policy_all_but_the_clouds_metadata_is_allowed() -> None:
    assert check(Meaning(), parsed("https://anything.org/"), "GET", Led())[0].allowed
    assert check(Meaning(), parsed("tcp://9.9.9.9:1"), "GET", Led())[0].allowed
    assert not check(Meaning(), parsed("http://169.254.169.254/latest"), "GET", Led())[0].allowed


def test_what_a_name_has_led_to_is_told() -> None:
    assert check(POLICY, parsed("https://files.pypi.org/"), "GET", LED)[1] == (PYPI,)
    assert check(POLICY, parsed("https://151.101.0.223/"), "GET", LED)[1] == ()


def test_a_url_is_taken_apart() -> None:
    assert parsed("https://A.org./x?y#z") == Place("https", "a.org", 443, "/x?y")
    assert parsed("udp://[2600::1]:53") == Place("udp", "2600::1", 53, "/")


@pytest.mark.parametrize(
    "url", ["a.org", "ftp://a.org", "tcp://a.org", "https://", "tcp://a.org:70000", "tcp://a:b", "http://[::"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        parsed(url)


def test_what_the_proxy_lets_out_of_who_has_secrets() -> None:
    def rules(*given: EgressRule) -> tuple[HttpRule, ...] | None:
        return proxied(meaning(NetworkPolicy(given)), secured=True)

    assert proxied(POLICY, secured=False) == (HttpRule(("api.github.com",), ("GET",), ("/repos/*",)),)
    assert rules() == ()  # nothing, and not anything
    assert rules(EgressRule(("*.pypi.org", "10.0.0.0/8"), ports=(443,))) == (
        HttpRule(("*.pypi.org",), schemes=("https",)),
    )
    assert rules(EgressRule(("10.0.0.0/8",)), EgressRule(("pypi.org",), ports=(22,))) == ()
    assert rules(EgressRule(("0.0.0.0/0",))) == (HttpRule(schemes=("http", "https")),)
    assert proxied(Meaning(), secured=True) is None
    assert proxied(meaning(NetworkPolicy((EgressRule(("pypi.org",)),))), secured=False) is None
