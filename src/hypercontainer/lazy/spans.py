"""Sets of bytes, as spans that neither touch nor overlap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Spans:
    """Not thread safe."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= last:
            return
        before, after = self._starts[first], self._ends[last - 1]
        kept = [span for span in ((before, start), (end, after)) if span[0] < span[1]]
        self._starts[first:last] = [span[0] for span in kept]
        self._ends[first:last] = [span[1] for span in kept]

    def gap(self, start: int, end: int) -> tuple[int, int] | None:
        """The first stretch of these bytes that is not in the set."""
        index = bisect_right(self._starts, start) - 1
        if index >= 0 and self._ends[index] > start:
            start = self._ends[index]
        if start >= end:
            return None
        following = bisect_right(self._starts, start)
        return start, min(end, self._starts[following]) if following < len(self._starts) else end

    def touches(self, start: int, end: int) -> bool:
        """Whether any of these bytes is in the set."""
        return self.gap(start, end) != (start, end)
