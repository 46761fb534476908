from __future__ import annotations

import random

from hypercontainer.lazy.spans import Spans

SIZE = 40


def first_gap(members: set[int], start: int, end: int) -> tuple[int, int] | None:
    first = next((byte for byte in range(start, end) if byte not in members), None)
    if first is None:
        return None
    return first, next((byte for byte in range(first, end) if byte in members), end)


def test_spans_are_a_set_of_bytes() -> None:
    source = random.Random(1)
    for _ in range(200):
        spans, members = Spans(), set[int]()
        for _ in range(30):
            start, end = sorted(source.sample(range(SIZE), 2))
            if source.random() < 0.6:
                spans.add(start, end)
                members |= set(range(start, end))
            else:
                spans.remove(start, end)
                members -= set(range(start, end))
            first, last = sorted(source.sample(range(SIZE + 1), 2))
            assert spans.gap(first, last) == first_gap(members, first, last)
            assert spans.touches(first, last) == bool(members & set(range(first, last)))
