"""Timing of commands in turns, and what is said of the results."""

from __future__ import annotations

import json
import math
import os
import platform
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

RUN_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Row:
    """One promise: ``value`` against ``limit``, both in ``unit``; ``against`` says what the limit is made of.

    ``at_least``: it is promised to be no less, where all others are to be no more."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    against: str = ""
    samples: tuple[float, ...] = field(default=(), repr=False)
    at_least: bool = False

    @property
    def held(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run(
    argv: Sequence[str | Path], environment: Mapping[str, str] | None = None, timeout_s: float = RUN_TIMEOUT_S
) -> str:
    """A command from fork to exit status, and what it printed; AssertionError where that status is not 0.

    For timing: no pipe is waited for that a child of the command may hold open, and nothing is polled.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        ended = ends_within(process.pid, timeout_s)
        if not ended:
            process.kill()
        status = process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status:
        why = f"status {status}" if ended else f"not done after {timeout_s:g} s"
        raise AssertionError(f"{' '.join(map(str, argv))}: {why}\n{text}")
    return text


def ends_within(pid: int, timeout_s: float) -> bool:
    """Waits for the end of a process that is this one's child or another's; False where it goes on."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def in_turns(rounds: int, **actions: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each action, taken in turns after one uncounted round, so that noise meets all of them."""
    return figures_in_turns(rounds, {name: partial(seconds, action) for name, action in actions.items()})


def figures_in_turns(
    rounds: int, actions: Mapping[str, Callable[[], float]], *, back_and_forth: bool = False
) -> dict[str, list[float]]:
    """The same for what says its figure itself.  ``back_and_forth``: none is always after the same other one."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name in sorted(actions, key=[*actions].index, reverse=back_and_forth and number % 2 == 1):
            figure = actions[name]()
            if number:
                taken[name].append(figure)
    return taken


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The least of them that so many are no more than."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(values: Sequence[float]) -> str:
    return f"{min(values):.3f}-{max(values):.3f}"


def table(rows: list[Row]) -> str:
    lines = [("what", "measured", "at most", "held", "against")]
    for row in rows:
        held = {True: "yes", False: "NO", None: "-"}[row.held]
        limit = "-" if row.limit is None else _figure(row.limit, row.unit)
        limit = f"least {limit}" if row.at_least else limit
        lines.append((row.name, _figure(row.value, row.unit), limit, held, row.against))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _figure(value: float, unit: str) -> str:
    return f"{value:.3f} {unit}" if unit else f"{value:g}"


def write_json(rows: list[Row], path: Path) -> None:
    machine = {"cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
