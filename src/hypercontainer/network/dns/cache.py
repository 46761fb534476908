"""Answers of name servers, kept for as long as they say.

Bounded in entries and bytes; what was not used for longest makes room.  What is kept under a key is an answer
to exactly that question: no answer tells anything about another name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

from hypercontainer.network.dns import records

MAX_ENTRIES = 4096
MAX_BYTES = 4 << 20
MAX_ANSWER = 16 << 10


class _Entry(NamedTuple):
    answer: bytes
    since: float
    lifetime: records.Lifetime


class Cache:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> bytes | None:
        """With what is left of its TTLs."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age_s = int(self._now() - entry.since)
        if age_s >= entry.lifetime.seconds:
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return records.aged(entry.answer, age_s, entry.lifetime.places) if age_s else entry.answer

    def keep(self, key: Hashable, answer: bytes, question: int) -> None:
        """Where it may be kept; ``question``: how long that is."""
        lifetime = records.lifetime(answer, question) if len(answer) <= MAX_ANSWER else None
        if lifetime is None:
            return
        if key in self._entries:
            self._drop(key)
        self._entries[key] = _Entry(answer, self._now(), lifetime)
        self._bytes += len(answer)
        while len(self._entries) > MAX_ENTRIES or self._bytes > MAX_BYTES:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        self._bytes -= len(self._entries.pop(key).answer)
