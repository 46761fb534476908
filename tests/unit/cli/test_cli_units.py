"""Sizes, durations and times."""

from __future__ import annotations

import pytest

from hypercontainer.cli.options import UsageError
from hypercontainer.cli.units import (
    ago,
    binary_size,
    bytes_of,
    decimal_size,
    human_duration,
    local_time,
    parse_time,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("128", 128),
        ("256m", 256 << 20),
        ("1g", 1 << 30),
        ("1.5G", 3 << 29),
        ("64KiB", 65536),
        ("64kb", 65536),
        ("2 MB", 2 << 20),
        ("10b", 10),
        ("0", 0),
        ("1t", 1 << 40),
    ],
)
def test_sizes_as_typed(text: str, count: int) -> None:
    assert bytes_of(text, "--memory") == count


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1kk", "1e3", "nan", "inf", "1.2.3", "0x10", "9" * 30, "1_0"]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        bytes_of(text, "--memory")


@pytest.mark.parametrize(
    ("count", "decimal", "binary"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1000B"),
        (1024, "1.02kB", "1KiB"),
        (4_261_234, "4.26MB", "4.064MiB"),
        (123_456_789, "123MB", "117.7MiB"),
        (999_999, "1000kB", "976.6KiB"),
        (5_368_709_120, "5.37GB", "5GiB"),
    ],
)
def test_sizes_as_shown(count: int, decimal: str, binary: str) -> None:
    assert (decimal_size(count), binary_size(count)) == (decimal, binary)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5399, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (13 * 86400, "13 days"),
        (14 * 86400, "2 weeks"),
        (59 * 86400, "8 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (731 * 86400, "2 years"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-05-01T12:00:00Z", 1714564800.0),
        ("2024-05-01T12:00:00.5Z", 1714564800.5),
        ("2024-05-01T12:00:00.123456789Z", 1714564800.123456789),
        ("2024-05-01T12:00:00+02:00", 1714557600.0),
        ("2024-05-01T12:00:00.25-01:30", 1714570200.25),
        ("", None),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("2024-05-01", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


def test_times_for_people() -> None:
    assert ago("2024-05-01T12:00:00Z", now=1714564803.0) == "3 seconds ago"
    assert ago("2024-05-01T12:00:00Z", now=0.0) == "Less than a second ago"  # a clock that is behind
    assert ago("") == ""
    assert local_time("2024-05-01T12:00:00Z")[:10] == "2024-05-01"
