"""Timing of commands in turns, and what is said of the results."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One promise: ``value`` against ``limit``, both in ``unit``; ``against`` says what the limit is made of."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    against: str = ""
    samples: tuple[float, ...] = field(default=(), repr=False)

    @property
    def held(self) -> bool | None:
        return None if self.limit is None else self.value <= self.limit


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turns(rounds: int, **actions: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each action, taken in turns after one uncounted round, so that noise meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            took = seconds(action)
            if number:
                taken[name].append(took)
    return taken


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> str:
    return f"{min(values):.3f}-{max(values):.3f}"


def table(rows: list[Row]) -> str:
    lines = [("what", "measured", "at most", "held", "against")]
    for row in rows:
        held = {True: "yes", False: "NO", None: "-"}[row.held]
        limit = "-" if row.limit is None else f"{row.limit:.3f} {row.unit}"
        lines.append((row.name, f"{row.value:.3f} {row.unit}", limit, held, row.against))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines
    )


def write_json(rows: list[Row], path: Path) -> None:
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
