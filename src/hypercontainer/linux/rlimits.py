"""Resource limits: prlimit(1)'s names and their numbers on x86 (asm-generic/resource.h)."""

from __future__ import annotations

from typing import Final

from hypercontainer.errors import InvalidArgument

UNLIMITED: Final = (1 << 64) - 1

NUMBERS: Final = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}


def parse(name: str, soft: int, hard: int) -> tuple[int, int, int]:
    """(number, soft, hard) as setrlimit(2) takes them; -1 is unlimited."""
    number = NUMBERS.get(name.strip().lower())
    if number is None:
        raise InvalidArgument(
            f"unknown limit {name!r}", field="ulimits", takes=f"one of {', '.join(sorted(NUMBERS))}"
        )
    for value in (soft, hard):
        if not -1 <= value < UNLIMITED:
            raise InvalidArgument(
                f"{name}: {value} is out of range", field="ulimits", takes="0 or more, or -1 for unlimited"
            )
    soft_value, hard_value = (UNLIMITED if value == -1 else value for value in (soft, hard))
    if soft_value > hard_value:
        raise InvalidArgument(
            f"{name}: the soft limit {soft} is above the hard limit {hard}",
            field="ulimits",
            takes="a soft limit of at most the hard one",
        )
    return number, soft_value, hard_value
