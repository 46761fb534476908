"""Times and durations as people write them.

A ValueError says of the text what is wrong with it, as the end of a sentence that begins with the text.
"""

from __future__ import annotations

import re
from datetime import datetime

A_MOMENT = (
    "2026-01-31T10:00:00 (local time), 2026-01-31T10:00:00Z, Unix seconds, or how long ago, such as 1h30m"
)

_NS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MAX_NS = 2**63 - 1
_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?", re.ASCII)
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?([Zz]|[+-]\d\d:\d\d)?",
    re.ASCII,
)


def duration_ns(text: str) -> int:
    """As Go's time.ParseDuration: "300ms", "-1.5h", "2h45m", "0"."""
    sign, rest = (-1 if text.startswith("-") else 1), text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]) or len(part[0]) > 40:
            break
        unit = _NS[part[3]]
        total += int(part[1] or 0) * unit + int(part[2] or 0) * unit // 10 ** len(part[2] or "")
        at = part.end()
    if not rest or at < len(rest) or total > _MAX_NS:
        raise ValueError("is no duration")
    return sign * total


def wire(text: str, now_ns: int) -> str:
    """A moment as Unix seconds, so that nobody's zone or clock changes it on its way; "" for ""."""
    if not text:
        return ""
    seconds, rest = divmod(max(0, moment_ns(text, now_ns)), 10**9)
    return f"{seconds}.{rest:09d}"


def moment_ns(text: str, now_ns: int) -> int:
    """In nanoseconds since 1970: a duration before ``now_ns``, a time, or Unix seconds.  A time that says no zone is
    in that of this process."""
    if match := _SECONDS.fullmatch(text):
        return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0"))
    if match := _DATE.fullmatch(text):
        day, hour, minute, second, fraction, zone = match.groups()
        stated = f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}" + (zone or "").upper().replace(
            "Z", "+00:00"
        )
        try:
            return int(datetime.fromisoformat(stated).timestamp()) * 10**9 + int(
                (fraction or "").ljust(9, "0")
            )
        except (ValueError, OverflowError, OSError):
            raise ValueError("is no time") from None
    try:
        return now_ns - duration_ns(text)
    except ValueError:
        raise ValueError("is no time and no duration") from None
