"""usage: python -m bench [--rounds N] [--only NAME] [--json FILE]

Prints a table, with NO where a promise is not held, and writes the same as JSON (build/bench.json).
Speed is told here and nowhere asserted: the machine's noise would fail a test now and then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]

from bench import cold_run, command_line, pull, stream  # noqa: E402
from bench.measure import Row, table, write_json  # noqa: E402
from hyper import Hyper, hyper  # noqa: E402

CASES: dict[str, Callable[[Hyper, int], list[Row]]] = {
    "command-line": command_line.measure,
    "cold-run": cold_run.measure,
    "pull": pull.measure,
    "stream": lambda made, rounds: stream.measure(made),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", usage=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    flags = parser.parse_args()
    rows: list[Row] = []
    for name in flags.only or CASES:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        with hyper() as made:
            rows += CASES[name](made, flags.rounds)
    print(table(rows))
    write_json(rows, flags.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
