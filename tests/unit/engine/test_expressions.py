"""Expressions for names: Go's, in bounded time."""

from __future__ import annotations

import random
import re
import warnings

import pytest

from hypercontainer.engine.expressions import MAX_CHARS, Expression, glob

ATOMS = [
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    r"\d",
    r"\w",
    r"\S",
    "^",
    "$",
    "(a|b)",
    "(?:ab)",
    r"\.",
    "x-",
    r"\b",
    "[a-c_]",
    "(a*)",
]
TIMES = ["", "", "", "*", "+", "?", "{2}", "{1,3}", "{0,}", "*?"]


def test_they_find_what_pythons_find() -> None:
    chance = random.Random(9)
    compared = 0
    for _ in range(3000):
        source = "".join(chance.choice(ATOMS) + chance.choice(TIMES) for _ in range(chance.randint(1, 5)))
        if chance.random() < 0.2:
            source += "|" + chance.choice(ATOMS)
        text = "".join(chance.choice("abcx-.1_ ") for _ in range(chance.randint(0, 8)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wanted = re.search(source.replace("$", r"\Z"), text)
        except re.error:
            continue
        assert Expression(source).found_in(text) is bool(wanted), (source, text)
        compared += 1
    assert compared > 1000


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("(?i)WEB", "my-web", True),
        ("(?i)[^a]", "A", False),
        (r"[[:alpha:]_]\d", "x_1", True),
        (r"\Aweb\z", "webs", False),
        ("a{", "a{", True),
        ("(?P<n>a|b)c", "bc", True),
        ("", "", True),
        ("é", "café", True),
        (r"\x41", "A", True),
        ("[]x]", "]", True),
    ],
)
def test_what_is_gos_own(source: str, text: str, found: bool) -> None:
    assert Expression(source).found_in(text) is found


@pytest.mark.parametrize(
    "source",
    [
        "(",
        "a)",
        "[a",
        "*a",
        "a**",
        "\\",
        "a{2}{3}",
        "(?=a)",
        r"\1",
        r"\q",
        "a{1001}",
        "a{3,2}",
        "[b-a]",
        r"\x4",
    ]
    + ["a" * (MAX_CHARS + 1), "(a{100}){100}", "(((){1000}){1000}){1000}"],
)
def test_what_is_none(source: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|is) "):
        Expression(source)


@pytest.mark.parametrize("source", ["(a*)*(a|aa)*$x", "(a|aa)+" * 15 + "b", "a?" * 90 + "a" * 70 + "b"])
def test_what_never_ends_elsewhere_ends(source: str) -> None:
    assert not Expression(source).found_in("a" * 255)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("localhost/busy*", "localhost/busybox", True),
        ("*", "a/b", False),
        ("*/*", "a/b", True),
        ("busybo?", "busybox", True),
        ("a[b-d]", "ac", True),
        ("a[^b]", "ab", False),
        (r"a\*", "ab", False),
        ("a.b", "axb", False),
        ("web", "web2", False),
    ],
)
def test_globs_match_all_of_a_text(pattern: str, text: str, fits: bool) -> None:
    assert glob(pattern).found_in(text) is fits


@pytest.mark.parametrize("pattern", ["[", "a\\", "[b-a]"])
def test_globs_that_are_none(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|lacks|ends) "):
        glob(pattern)
