"""Schedules of CronJobs: five fields, or @daily and the like; and when they come next.

Fields are as in cron(8): numbers, names of months and days, ranges, lists, steps.  Where day of month and day of week
are both restricted, either is enough; as in Kubernetes a star with a step restricts, too.  A time that summer time
leaves out does not come; one that it repeats comes once.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from hypercontainer.errors import InvalidArgument

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_DAYS = "sun mon tue wed thu fri sat".split()
_PART = re.compile(r"(\*|\?|[a-z0-9]{1,3})(?:-([a-z0-9]{1,3}))?(?:/([0-9]{1,3}))?")
_ANY = re.compile(r"[*?](/0*1)?")
_ZONE = re.compile(r"[A-Za-z0-9][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+)*")
MAX_CHARS = 500
_REACHES = tuple(timedelta(days=days) for days in (1 / 24, 1, 31, 366, 366 * 8, 366 * 28))
_YEARS = 28  # the calendar's weekdays come again; what does not come in that time never does


@dataclass(frozen=True)
class Schedule:
    """``zone`` "": UTC."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    any_day: bool
    any_weekday: bool
    zone: str = ""

    def has_day(self, at: datetime) -> bool:
        if at.month not in self.months:
            return False
        by_day, by_weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return by_day and by_weekday
        return by_day or by_weekday


def parse(text: str, zone: str, where: str) -> Schedule:
    if len(text) > MAX_CHARS or "TZ=" in text:
        raise InvalidArgument(f"{where}: {text[:60]!r} is no schedule", hint="a time zone goes into timeZone")
    fields = _MACROS.get(text.strip(), text).lower().split()
    if len(fields) != 5:
        raise InvalidArgument(
            f"{where}: {text[:60]!r} has not five fields",
            hint="minute hour day month weekday, or @daily and the like",
        )
    minutes, hours, days, months, weekdays = fields
    if zone:
        _zone(zone, where)
    return Schedule(
        _field(minutes, 0, 59, (), where),
        _field(hours, 0, 23, (), where),
        _field(days, 1, 31, (), where),
        _field(months, 1, 12, _MONTHS, where),
        frozenset(day % 7 for day in _field(weekdays, 0, 7, _DAYS, where)),
        _is_any(days),
        _is_any(weekdays),
        zone,
    )


def next_time(schedule: Schedule, after: datetime) -> datetime | None:
    """The first time later than ``after`` (which has a zone), in UTC; None where there is none, as of 30 February."""
    zone = _zone(schedule.zone, "timeZone")
    # Clock time is counted without a zone, and each candidate is then looked up in the zone.
    clock = after.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0, fold=0)
    last = clock + timedelta(days=366 * _YEARS)
    clock -= timedelta(hours=3)  # what a clock that was put back has shown before
    while clock < last:
        if not schedule.has_day(clock):
            clock = clock.replace(hour=0, minute=0) + timedelta(days=1)
        elif clock.hour not in schedule.hours:
            clock = clock.replace(minute=0) + timedelta(hours=1)
        else:
            if clock.minute in schedule.minutes:
                found = clock.replace(tzinfo=zone).astimezone(UTC)
                exists = found.astimezone(zone).replace(tzinfo=None, fold=0) == clock
                if exists and found > after:
                    return found
            clock += timedelta(minutes=1)
    return None


def last_time(schedule: Schedule, after: datetime, until: datetime) -> datetime | None:
    """The last time that is later than ``after`` and not later than ``until``; None where there is none."""
    for reach in _REACHES:  # back from the end, so that a long absence costs no more than a short one
        start = max(after, until - reach)
        found, following = None, next_time(schedule, start)
        while following is not None and following <= until:
            found, following = following, next_time(schedule, following)
        if found is not None or start == after:
            return found
    return None


def _zone(name: str, where: str) -> tzinfo:
    if not name:
        return UTC
    try:
        if len(name) > 64 or not _ZONE.fullmatch(name):
            raise ValueError
        return zoneinfo.ZoneInfo(name)
    except (ValueError, zoneinfo.ZoneInfoNotFoundError, OSError):
        known = any(Path(folder).is_dir() for folder in zoneinfo.TZPATH)
        hint = "as in Europe/Paris" if known else "this machine knows none: apt-get install tzdata"
        raise InvalidArgument(f"{where}: {name[:64]!r} is no time zone", hint=hint) from None


def _is_any(field: str) -> bool:
    return any(_ANY.fullmatch(part) for part in field.split(","))


def _field(
    text: str, least: int, most: int, named: list[str] | tuple[str, ...], where: str
) -> frozenset[int]:
    first_named = least
    end = 6 if most == 7 else most  # of what goes on to the end: 7 is Sunday once more
    problem = InvalidArgument(
        f"{where}: {text[:60]!r} is not {least} to {most}, a list, range or step of these"
    )

    def number(word: str) -> int:
        value = named.index(word) + first_named if word in named else int(word) if word.isdigit() else -1
        if not least <= value <= most:
            raise problem
        return value

    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise problem
        low, high, step = match[1], match[2], match[3]
        if low in ("*", "?"):
            if high:
                raise problem
            first, last = least, end
        else:
            first = number(low)
            last = number(high) if high else max(first, end) if step else first
        if last < first or step == "0" or (step and int(step) == 0):
            raise problem
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)
