"""The command line's own start, against a bare interpreter's."""

from __future__ import annotations

import subprocess
import sys

from bench.measure import Row, in_turns, median, spread
from hyper import Hyper

RATIO = 2.5


def measure(hyper: Hyper, rounds: int) -> list[Row]:
    hyper("images")  # hyperd runs, and answers the question
    taken = in_turns(
        4 * rounds,
        hyper=lambda: hyper("version"),
        bare=lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
    )
    ours, theirs = median(taken["hyper"]), median(taken["bare"])
    against = f"{RATIO} x python -c pass ({theirs:.3f} s); hyper {spread(taken['hyper'])}"
    return [Row("hyper version", ours, "s", RATIO * theirs, against, tuple(taken["hyper"]))]
