from __future__ import annotations

import resource

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.rlimits import NUMBERS, UNLIMITED, parse


def test_the_numbers_are_linuxs() -> None:
    named = {name: getattr(resource, f"RLIMIT_{name.upper()}", number) for name, number in NUMBERS.items()}
    assert named == NUMBERS
    assert sorted(NUMBERS.values()) == list(range(16))


def test_parse() -> None:
    assert parse("nofile", 1024, 2048) == (7, 1024, 2048)
    assert parse("CORE", 0, -1) == (4, 0, UNLIMITED)
    assert parse("nproc", -1, -1) == (6, UNLIMITED, UNLIMITED)


@pytest.mark.parametrize(
    ("name", "soft", "hard"), [("files", 1, 1), ("nofile", 2, 1), ("nofile", -1, 5), ("nofile", -2, 1)]
)
def test_refused(name: str, soft: int, hard: int) -> None:
    with pytest.raises(InvalidArgument, match=r"^ulimits: "):
        parse(name, soft, hard)
