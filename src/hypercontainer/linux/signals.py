"""Signals by name or number, as users and images write them; the numbers are Linux's on x86 and ARM."""

from __future__ import annotations

import re
from typing import Final

from hypercontainer.errors import InvalidArgument

_NAMES: Final = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU "
    "URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
NUMBERS: Final = {name: number for number, name in enumerate(_NAMES, 1)} | {"IOT": 6, "CLD": 17, "POLL": 29}
RTMIN: Final = 34  # the first that the C library leaves to programs
RTMAX: Final = 64
_REAL_TIME: Final = re.compile(r"RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?")


def parse(text: str) -> int:
    """The number of "SIGTERM", "term", "15", "SIGRTMIN+3", ..."""
    name = text.strip().upper()
    if name.isascii() and name.isdigit():
        number = int(name[:9])
    else:
        name = name.removeprefix("SIG")
        number = NUMBERS.get(name, 0) or _real_time(name)
    if not 1 <= number <= RTMAX:
        raise InvalidArgument(
            f"invalid signal {text!r}", hint="a name like SIGTERM or SIGRTMIN+3, or 1 to 64"
        )
    return number


def name(number: int) -> str:
    """As Kubernetes and the C library write it: "SIGTERM", "SIGRTMIN+3"; ``number`` is one that ``parse`` gives."""
    if number in (RTMIN, RTMAX):
        return "SIGRTMIN" if number == RTMIN else "SIGRTMAX"
    if number > RTMIN:
        below = RTMAX - number
        return f"SIGRTMIN+{number - RTMIN}" if number - RTMIN <= below else f"SIGRTMAX-{below}"
    return f"SIG{_NAMES[number - 1]}" if number <= len(_NAMES) else str(number)


def _real_time(name: str) -> int:
    match = _REAL_TIME.fullmatch(name)
    if match is None:
        return 0
    base, sign, distance = match.groups()
    number = (RTMIN if base == "MIN" else RTMAX) + int((sign or "+") + (distance or "0"))
    return number if RTMIN <= number <= RTMAX else 0
