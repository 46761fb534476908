"""Times as the API shows them: RFC 3339 with nanoseconds, UTC."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from hypercontainer.contract import times
from hypercontainer.errors import InvalidArgument

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


def moment_ns(text: str, *, field: str) -> int | None:
    """What ``field`` says of a moment, as people write it (`contract.times`); None for ""."""
    try:
        return times.moment_ns(text, time.time_ns()) if text else None
    except ValueError as error:
        raise InvalidArgument(f"{text!r} {error}", field=field, takes=times.A_MOMENT) from None
