"""Which health check a container has, of its own and its image's: Docker's rules, pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from hypercontainer.contract.probes import Healthcheck
from hypercontainer.errors import InvalidArgument

LEAST_NS = 1_000_000
MOST = 2**63 - 1  # what Docker's readers of a number take
_TIMES = ("interval_ns", "timeout_ns", "start_period_ns", "start_interval_ns")
_NUMBERS = (*_TIMES, "retries")


def effective(wish: Healthcheck | None, images: Healthcheck | None) -> Healthcheck | None:
    """What ``wish`` does not say is the image's, whose numbers are a stranger's: one that cannot be is none."""
    base = Healthcheck() if images is None else _possible(images)
    if wish is None:
        return None if images is None else base
    _check(wish)
    own = {name: value for name in wish.__struct_fields__ if (value := getattr(wish, name))}
    return msgspec.structs.replace(base, **own)


def _possible(images: Healthcheck) -> Healthcheck:
    given = {name: getattr(images, name) for name in _NUMBERS}
    wrong = {name: 0 for name, value in given.items() if not _least(name) <= value <= MOST}
    return msgspec.structs.replace(images, **wrong)


def _least(name: str) -> int:
    return LEAST_NS if name in _TIMES else 1


def _check(wish: Healthcheck) -> None:
    for name in _NUMBERS:
        value = getattr(wish, name)
        if value and not _least(name) <= value <= MOST:
            least = "at least 1 ms" if name in _TIMES else "at least 1"
            raise InvalidArgument(f"{name} {value} cannot be", field="healthcheck", takes=f"{least}, or 0")
    if wish.test and not understood(wish):
        raise InvalidArgument(
            f"test {' '.join(wish.test)[:80]!r} is not understood",
            field="healthcheck",
            takes="NONE, CMD and a program, or CMD-SHELL and a line",
        )


def understood(check: Healthcheck) -> bool:
    if any("\0" in word for word in check.test):
        return False
    return check.test == ("NONE",) or (check.test[0] in ("CMD", "CMD-SHELL") and len(check.test) > 1)


def warnings(made: Healthcheck | None) -> Iterable[str]:
    if made is not None and made.test and not understood(made):
        yield "the image's health check is not understood, so there is none"
