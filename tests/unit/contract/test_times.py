"""Times and durations as people write them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.contract import times

S = 10**9
NOW = 1_769_853_600 * S  # 2026-01-31T10:00:00Z, where New York has 05:00


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("0", 0),
        ("500ms", 500_000_000),
        ("5500ms", 5_500_000_000),
        ("1m500ms", 60_500_000_000),
        ("1h2m3s", 3723 * S),
        ("-1.5h", -5400 * S),
        ("+.5s", 500_000_000),
        ("1.s", S),
        ("1ns2us3\u00b5s4\u03bcs", 9001),
        ("2540400h", 2540400 * 3600 * S),
    ],
)
def test_durations_are_gos(text: str, ns: int) -> None:
    assert times.duration_ns(text) == ns


@pytest.mark.parametrize(
    "text", ["", "1", "1d", "s", ".s", "1h ", " 1h", "1hh", "--1s", "1e3s", "3000000h", "\u0661s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        times.duration_ns(text)


@pytest.mark.parametrize(
    ("text", "before_ns"),
    [
        ("2026-01-31T05:00:00", 0),
        ("2026-01-31 05:00", 0),
        ("2026-01-31T05", 0),
        ("2026-01-31", 5 * 3600 * S),
        ("2026-01-31T04:59:59.25", 750_000_000),
        ("2026-01-31T10:00:00Z", 0),
        ("2026-01-31t10:00z", 0),
        ("2026-01-31T11:00:00+01:00", 0),
        ("2026-01-31+00:00", 10 * 3600 * S),
        ("2025-07-31T06:00:00", 184 * 86400 * S),  # as it was by the summer's clock
        ("1769853600", 0),
        ("1769853599.5", 500_000_000),
        ("0", NOW),
        ("90s", 90 * S),
        ("-90s", -90 * S),
    ],
)
@pytest.mark.usefixtures("new_york")
def test_a_time_without_a_zone_is_local(text: str, before_ns: int) -> None:
    assert times.moment_ns(text, NOW) == NOW - before_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "1d",
        "2026-02-30",
        "2026-01-31T25:00",
        "2026-01-31T10:00:61",
        "2026-1-1",
        "0001-01-01T00:00:00+24:00",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is no "):
        times.moment_ns(text, NOW)


def test_on_the_wire() -> None:
    assert times.wire("", NOW) == ""
    assert times.wire("500ms", NOW) == "1769853599.500000000"
    assert times.wire("1960-01-01", NOW) == "0.000000000"


@given(st.text(alphabet="0123456789-+:.TtZz hmsnu\u00b5", max_size=40))
def test_any_text_is_a_moment_or_none(text: str) -> None:
    try:
        times.moment_ns(text, NOW)
    except ValueError as error:
        assert str(error).startswith("is no ")
