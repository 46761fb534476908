from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.image.auth import Challenge, parse_challenges
from hypercontainer.image.endpoints import endpoints, is_insecure, mirror, proxy_for
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.reference import parse
from hypercontainer.image.transport import retry_after_s


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.io/token",service="reg.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.io/token",
                        "service": "reg.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Basic realm="a \\"quoted\\" one"', [Challenge("basic", {"realm": 'a "quoted" one'})]),
        ("BASIC realm=plain", [Challenge("basic", {"realm": "plain"})]),
        (
            'Negotiate, Basic realm="x", Bearer realm="y" , service = z',
            [
                Challenge("negotiate", {}),
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y", "service": "z"}),
            ],
        ),
        ("", []),
        ("=", []),
        ("Bearer", [Challenge("bearer", {})]),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges([header]) == expected


@given(st.text(max_size=200))
def test_no_challenge_breaks_the_parser(header: str) -> None:
    parse_challenges([header])


def test_a_huge_header_is_ignored() -> None:
    assert parse_challenges(["Bearer " + "a" * 100_000]) == []


def test_retry_after() -> None:
    assert retry_after_s("7") == 7
    assert retry_after_s("Thu, 01 Jan 1970 00:01:40 GMT", now=lambda: 40.0) == 60
    assert retry_after_s("Thu, 01 Jan 1970 00:00:00 GMT", now=lambda: 40.0) == 0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


def test_loopback_and_configured_hosts_are_insecure() -> None:
    config = RegistriesConfig(insecure=frozenset({"reg.lan:5000", "10.1.0.0/16", "plain.lan"}))
    for host in (
        "127.0.0.1:5000",
        "127.9.9.9",
        "localhost",
        "[::1]:80",
        "reg.lan:5000",
        "10.1.2.3:1",
        "plain.lan:9",
    ):
        assert is_insecure(host, config), host
    for host in ("reg.lan:5001", "10.2.0.1", "127.0.0.1.evil.com", "docker.io"):
        assert not is_insecure(host, config), host


def test_mirrors_come_first_and_the_origin_last() -> None:
    config = RegistriesConfig(mirrors={"docker.io": ("http://m1.lan:5000", "m2.lan/cache")})
    found = endpoints(parse("debian"), config)
    assert [(x.host, x.schemes, x.prefix, x.is_mirror) for x in found] == [
        ("m1.lan:5000", ("http",), "", True),
        ("m2.lan", ("https",), "cache/", True),
        ("registry-1.docker.io", ("https",), "", False),
    ]
    assert mirror("https://m.lan/v2/x/", config).prefix == "x/"


PROXIES = {"HTTPS_PROXY": "http://p:3128", "http_proxy": "q:80"}


@pytest.mark.parametrize(
    ("scheme", "host", "no_proxy", "expected"),
    [
        ("https", "docker.io", "", "http://p:3128"),
        ("http", "docker.io", "", "http://q:80"),
        ("https", "127.0.0.1:5000", "", None),
        ("https", "localhost:5000", "", None),
        ("https", "a.example.com", "example.com", None),
        ("https", "example.com", "example.com", None),
        ("https", "example.com", ".example.com", "http://p:3128"),
        ("https", "a.example.com", ".example.com", None),
        ("https", "a.example.com", "*.example.com", None),
        ("https", "notexample.com", "example.com", "http://p:3128"),
        ("https", "10.1.2.3", "10.0.0.0/8, x", None),
        ("https", "11.1.2.3", "10.0.0.0/8", "http://p:3128"),
        ("https", "reg.lan:5000", "reg.lan:5000", None),
        ("https", "reg.lan:5001", "reg.lan:5000", "http://p:3128"),
        ("https", "reg.lan", "reg.lan:443", None),
        ("https", "any.where", "*", None),
    ],
)
def test_proxies(scheme: str, host: str, no_proxy: str, expected: str | None) -> None:
    assert proxy_for(scheme, host, {**PROXIES, "NO_PROXY": no_proxy}) == expected
