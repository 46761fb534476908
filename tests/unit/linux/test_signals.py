from __future__ import annotations

import signal

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.signals import name, parse


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("term", 15),
        (" sigKill ", 9),
        ("15", 15),
        ("64", 64),
        ("SIGRTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMIN+3", 37),
        ("SIGRTMAX-14", 50),
        ("SIGRTMAX", 64),
        ("SIGPOLL", 29),
        ("IOT", 6),
    ],
)
def test_parse(text: str, number: int) -> None:
    assert parse(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "65",
        "-9",
        "SIG",
        "FOO",
        "SIGRTMIN-1",
        "SIGRTMAX+1",
        "RTMIN+99",
        "\u0661\u0665",
        "9" * 50,
        "SIGSIGTERM",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid signal"):
        parse(text)


def test_the_names_are_pythons() -> None:
    for member in signal.Signals:
        if member < 32:
            assert parse(member.name) == member


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (2, "SIGINT"),
        (29, "SIGIO"),
        (31, "SIGSYS"),
        (34, "SIGRTMIN"),
        (49, "SIGRTMIN+15"),
        (50, "SIGRTMAX-14"),
        (64, "SIGRTMAX"),
        (32, "32"),
    ],
)
def test_name(number: int, expected: str) -> None:
    assert name(number) == expected
    assert parse(expected) == number
