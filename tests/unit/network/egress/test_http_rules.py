"""What leaves a pod by which rule, and what is no name, no target and no path."""

from __future__ import annotations

import pytest

from hypercontainer.network.egress import rules
from hypercontainer.network.egress.rules import HttpRule, Refused


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("API.Example.COM.", "api.example.com"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
    ],
)
def test_names_have_one_form(text: str, name: str) -> None:
    assert rules.host_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "-a.example",
        "a b",
        "exämple.com",
        "127.1",
        "0x7f.0x1",
        "a" * 64,
        "a/b",
        "fe80::1%eth0",
    ]
    + ["a." * 127 + "example", "[example.com]", "user@example.com", "a\0b", "2130706433"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(Refused):
        rules.host_name(text)


@pytest.mark.parametrize(
    ("text", "scheme", "host"),
    [
        ("example.com", "http", "example.com"),
        ("example.com:80", "http", "example.com"),
        ("[2001:db8::1]:443", "https", "2001:db8::1"),
        ("example.com:443", "https", "example.com"),
    ],
)
def test_an_authority_has_the_schemes_port(text: str, scheme: str, host: str) -> None:
    assert rules.authority(text, scheme) == host


@pytest.mark.parametrize("text", ["example.com:443", "example.com:+80", "[::1", "[::1]80", "a:80:80", "a:x"])
def test_an_authority_with_another_port(text: str) -> None:
    with pytest.raises(Refused):
        rules.authority(text, "http")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a?b=//c", (None, "/a?b=//c")),
        ("*", (None, "*")),
        ("http://Example.com/a", ("example.com", "/a")),
        ("HTTP://example.com", ("example.com", "/")),
        ("http://example.com:80?x", ("example.com", "/?x")),
    ],
)
def test_targets(text: str, parts: tuple[str | None, str]) -> None:
    assert rules.target(text, "http") == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "example.com:443",
        "https://example.com/",
        "http://u@example.com/",
        "/a b",
        "/a#b",
        "/\x7f",
        "/\xe4",
    ]
    + ["/" + "a" * rules.TARGET_MAX, "http:///a"],
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(Refused):
        rules.target(text, "http")


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/a/./b/../c", "/a/c"),
        ("/%61%2e%2E/x", "/a../x"),
        ("/a/%2e%2e/b", "/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a%2fb", "/a%2Fb"),
        ("//a", "//a"),
        ("/a?x=/../y", "/a?x=/../y"),
        ("*", "*"),
    ],
)
def test_paths_have_one_form(path: str, normal: str) -> None:
    assert rules.normal(path) == normal
    assert rules.normal(normal) == normal


@pytest.mark.parametrize("path", ["/%", "/%2", "/%zz"])
def test_an_escape_that_is_none(path: str) -> None:
    with pytest.raises(Refused):
        rules.normal(path)


PUBLIC = (HttpRule(("api.example.com",), ("GET", "HEAD"), ("/public/*", "/health")),)


@pytest.mark.parametrize(
    "path", ["/public/", "/public/a", "/public/a/../b", "/health", "/health?x=/../", "/public/a%20b"]
)
def test_what_is_let_out(path: str) -> None:
    rules.decide(PUBLIC, "api.example.com", "GET", rules.normal(path))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/public",
        "/healthy",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/PUBLIC/a",
    ]
    + ["/public/..\\admin", "/public/%5c..%5c..%5cadmin", "/public/..;/admin", "/public/..;a=b/admin"]
    + ["/public/%252e%252e/admin", "/public/%252e%252e%252fadmin", "//public/../admin"]
    + ["/public//../../admin", "/health/", "/health%2f..", "/public/%25252e%25252e/admin", "*"],
)
def test_what_is_not(path: str) -> None:
    with pytest.raises(Refused):
        rules.decide(PUBLIC, "api.example.com", "GET", rules.normal(path))


@pytest.mark.parametrize("method", ["POST", "get", "GET ", "", "G\tT", "X" * 33])
def test_methods(method: str) -> None:
    with pytest.raises(Refused):
        rules.decide(PUBLIC, "api.example.com", method, "/health")


@pytest.mark.parametrize(
    ("wanted", "host", "is_it"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "badexample.com", False),
        ("*", "a.b", True),
        ("*", "192.0.2.1", False),
        ("example.com", "example.com.evil", False),
        ("192.0.2.1", "192.0.2.1", True),
    ],
)
def test_hosts(wanted: str, host: str, is_it: bool) -> None:
    rule = rules.check(HttpRule((wanted,)))
    assert bool(rules.hosts((rule,), host)) is is_it


def test_only_who_wants_more_than_a_name_looks_inside() -> None:
    narrow, wide = HttpRule(("a.example",), ("GET",)), HttpRule(("*.example",))
    assert rules.looks_inside((narrow,), "a.example")
    assert not rules.looks_inside((narrow, wide), "a.example")
    assert not rules.looks_inside(rules.ANYTHING, "b.example")
    with pytest.raises(Refused, match=r"reach c\.test"):
        rules.looks_inside((narrow, wide), "c.test")


@pytest.mark.parametrize(
    "rule",
    [HttpRule(("a b",)), HttpRule(methods=("G T",)), HttpRule(paths=("a",)), HttpRule(paths=("/*/b",))]
    + [HttpRule(paths=("/a?b",)), HttpRule(("*.*.example",)), HttpRule(paths=("/%",))],
)
def test_a_rule_that_is_none(rule: HttpRule) -> None:
    with pytest.raises(Refused):
        rules.check(rule)


def test_a_path_with_an_escape_is_what_it_says() -> None:
    named = (rules.check(HttpRule(paths=("/a%20b", "/c%20d*"))),)
    for path in ("/a%20b", "/c%20d/e%20f"):
        rules.decide(named, "a.example", "GET", path)
    with pytest.raises(Refused):
        rules.decide(named, "a.example", "GET", "/c")
