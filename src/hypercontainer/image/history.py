"""An image's history as `history` lists it."""

from __future__ import annotations

from collections.abc import Sequence

from hypercontainer.image.documents import WireHistory, timestamp
from hypercontainer.image.model import HistoryEntry, Image


def entries(image: Image, steps: Sequence[WireHistory], sizes: Sequence[int]) -> list[HistoryEntry]:
    """Newest first.  ``sizes``: of the layers, in bytes; a step without a layer has none."""
    if not steps:  # nothing is written down: at least the layers
        steps = [WireHistory() for _ in sizes]
    remaining = iter(sizes)
    found = [
        HistoryEntry(
            image="",
            created=timestamp(step.created),
            created_by=step.created_by or "",
            comment=step.comment or "",
            size_bytes=0 if step.empty_layer else next(remaining, 0),
            empty_layer=bool(step.empty_layer),
        )
        for step in steps
    ]
    found.reverse()
    if found:
        newest = found[0]
        found[0] = HistoryEntry(
            image.id,
            newest.created,
            newest.created_by,
            newest.comment,
            newest.size_bytes,
            newest.empty_layer,
            image.references,
        )
    return found
