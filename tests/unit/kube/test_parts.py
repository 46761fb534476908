"""Quantities, expansion, schedules, selectors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import cron, quantity
from hypercontainer.kube.environment import expand


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("128974848", 128974848),
        ("129e6", 129000000),
        ("129M", 129000000),
        ("123Mi", 123 << 20),
        ("1.5Gi", 3 << 29),
        (".5Ki", 512),
        ("1.", 1),
        ("2E", 2 * 10**18),
        ("2E3", 2000),
        ("1e-1", 1),
        ("128974848000m", 128974848),
        ("1n", 1),
        ("+5k", 5000),
        ("7Ei", 7 << 60),
        (3, 3),
        (1.5, 2),
    ],
)
def test_bytes(text: object, value: int) -> None:
    assert quantity.to_bytes(text, "here") == value


@pytest.mark.parametrize(
    ("text", "value"), [("100m", 100), ("0.1", 100), (2, 2000), ("1u", 1), ("1.0005", 1001)]
)
def test_millis(text: object, value: int) -> None:
    assert quantity.to_millis(text, "here") == value


@pytest.mark.parametrize(
    "text", ["", "x", "1 Gi", "1gi", "-1", "1e999", "1e99", "8Ei", "1" * 100, "1MB", True, None, []]
)
def test_no_quantity(text: object) -> None:
    with pytest.raises(InvalidArgument, match="here"):
        quantity.to_bytes(text, "here")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$(A)-$(B)", "one-$(A)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$$$$(A)", "$$(A)"),
        ("$(C)", "$(C)"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
        ("$(A)$(A", "one$(A"),
        ("$($$", "$($"),
        ("$()", "$()"),
    ],
)
def test_expansion(text: str, value: str) -> None:
    assert expand(text, {"A": "one", "B": "$(A)"}, "here") == value


def test_expansion_is_bounded() -> None:
    unclosed = "$(" * 500_000  # for each of which the end could be looked for, to the text's end
    assert expand(unclosed, {}, "here") == unclosed
    with pytest.raises(InvalidArgument, match="when expanded"):
        expand("$(A)" * 10_000, {"A": "x" * 1000}, "here")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "following"),
    [
        ("* * * * *", "", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("*/15 * * * *", "", "2026-01-01T00:45:00", "2026-01-01T01:00:00"),
        ("0 3 * * *", "", "2026-01-01T03:00:00", "2026-01-02T03:00:00"),
        ("@monthly", "", "2026-01-31T12:00:00", "2026-02-01T00:00:00"),
        ("0 0 29 2 *", "", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 13 * fri", "", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),  # either is enough
        ("0 0 */2 * 1", "", "2026-01-03T00:00:00", "2026-01-05T00:00:00"),  # odd days, or Mondays
        ("0 0 */2 * 1", "", "2026-01-11T00:00:00", "2026-01-12T00:00:00"),
        ("0 0 */1 * 1", "", "2026-01-06T00:00:00", "2026-01-12T00:00:00"),
        ("0 0 3 * */2", "", "2026-01-02T00:00:00", "2026-01-03T00:00:00"),
        ("0 0 3,* * 1", "", "2026-01-02T00:00:00", "2026-01-05T00:00:00"),
        ("0 0 * * 1/2", "", "2026-01-02T00:00:00", "2026-01-05T00:00:00"),  # Monday, Wednesday, Friday
        ("0 0 * * 7", "", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("5,10-12/2 1 * jan-mar *", "", "2026-01-01T01:05:00", "2026-01-01T01:10:00"),
        ("0 9 * * mon-fri", "Europe/Paris", "2026-07-03T08:00:00", "2026-07-06T07:00:00"),
        ("30 2 * * *", "Europe/Paris", "2026-03-29T00:00:00", "2026-03-30T00:30:00"),  # 02:30 was left out
        ("30 2 * * *", "Europe/Paris", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),  # the second 02:30
        ("0 3 * * *", "Europe/Paris", "2026-10-25T00:30:00", "2026-10-25T02:00:00"),
    ],
)
def test_next_time(schedule: str, zone: str, after: str, following: str) -> None:
    assert cron.next_time(cron.parse(schedule, zone, "here"), at(after)) == at(following)


def test_a_time_that_never_comes() -> None:
    assert cron.next_time(cron.parse("0 0 30 2 *", "", "here"), at("2026-01-01T00:00:00")) is None


def test_times_follow_one_another() -> None:
    schedule, now = cron.parse("7 */6 * * *", "Europe/Berlin", "here"), at("2026-03-27T00:00:00")
    for _ in range(20):
        following = cron.next_time(schedule, now)
        assert following is not None
        assert timedelta(hours=5) <= following - now <= timedelta(hours=7)
        now = following


@pytest.mark.parametrize(
    "schedule",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
    ]
    + ["a * * * *", "@often", "TZ=UTC * * * * *", "1,,2 * * * *", "*-5 * * * *", "* " * 300],
)
def test_no_schedule(schedule: str) -> None:
    with pytest.raises(InvalidArgument, match="here"):
        cron.parse(schedule, "", "here")


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../../etc/passwd", "/etc/localtime", "x" * 100, "Europe"])
def test_no_zone(zone: str) -> None:
    with pytest.raises(InvalidArgument, match="no time zone"):
        cron.parse("* * * * *", zone, "here")
