"""Times as the API shows them: RFC 3339 with nanoseconds, UTC."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from hypercontainer.errors import InvalidArgument

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|m|s|ms)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?)?")


def now() -> str:
    return from_ns(time.time_ns())


def from_ns(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def to_ns(text: str) -> int:
    """Of an RFC 3339 time, such as ``now`` gives.  ValueError where it is none."""
    match = _RFC3339.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an RFC 3339 time")
    day, clock, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{(zone or 'Z').replace('Z', '+00:00')}")
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or ".0")[1:].ljust(9, "0"))


def moment_ns(text: str, *, what: str) -> int | None:
    """What may be said of a moment: a time, Unix seconds, or a duration before now; None for ""."""
    if not text:
        return None
    if re.fullmatch(r"\d+(\.\d{1,9})?", text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return time.time_ns() - int(sum(float(number) * _UNIT_S[unit] for number, unit in parts) * 1e9)
    try:
        return to_ns(text)
    except ValueError as error:
        raise InvalidArgument(
            f"{what}: {text!r} is no time",
            hint="2026-01-31T10:00:00Z, Unix seconds, or a duration such as 10m",
        ) from error
