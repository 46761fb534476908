"""What one guest may take of what all share: so much a second, and so much at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

MAX_KNOWN = 4096


@dataclass(frozen=True)
class Rate:
    per_second: float
    burst: float


class Buckets:
    """Of each who asks, ``rate``.  At most `MAX_KNOWN` are remembered; who is forgotten may have a burst again."""

    def __init__(self, rate: Rate, now: Callable[[], float]) -> None:
        self._per_second, self._burst = rate.per_second, rate.burst
        self._now = now
        self._known: dict[Hashable, tuple[float, float]] = {}  # tokens, and when there were so many

    def take(self, who: Hashable) -> bool:
        now = self._now()
        known = self._known.get(who)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            tokens = self._burst
        else:
            tokens = min(known[0] + (now - known[1]) * self._per_second, self._burst)
            if tokens < 1:
                return False
        self._known[who] = (tokens - 1, now)
        return True


class Places:
    """``everything`` of them, of which ``each`` is the most for one."""

    def __init__(self, everything: int, each: int) -> None:
        self._everything, self._each = everything, each
        self._held: Counter[Hashable] = Counter()
        self._taken = 0

    @property
    def full(self) -> bool:
        return self._taken >= self._everything

    def take(self, who: Hashable) -> bool:
        if self.full or self._held[who] >= self._each:
            return False
        self._held[who] += 1
        self._taken += 1
        return True

    def leave(self, who: Hashable) -> None:
        self._taken -= 1
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
