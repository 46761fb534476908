"""usage: python -m bench [--rounds N] [--only NAME] [--pods N] [--full] [--json FILE]

Prints a table, with NO where a promise is not held, and writes the same as JSON (build/bench.json).
Speed is told here and nowhere asserted: the machine's noise would fail a test now and then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from bench import (
    ROOT,
    attacked,
    build,
    cold_run,
    command_line,
    commit,
    cp,
    disks,
    docker_api,
    lazy,
    libvirt,
    many,
    memory,
    networks,
    pods,
    pull,
    shared_volumes,
    start,
    stream,
    through,
    uml,
    work,
)
from bench.measure import Row, table, write_json
from hyper import Hyper, hyper


def with_hyperd(
    measure: Callable[[Hyper, int], list[Row]], config: str = ""
) -> Callable[[argparse.Namespace], list[Row]]:
    def case(flags: argparse.Namespace) -> list[Row]:
        with hyper(config) as made:
            return measure(made, flags.rounds)

    return case


CASES: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "command-line": with_hyperd(command_line.measure),
    "start": lambda flags: start.measure(flags.rounds),
    "uml": lambda flags: uml.measure(flags.rounds, flags.pods),
    "libvirt": lambda flags: libvirt.measure(flags.rounds),
    "work": lambda flags: work.measure(flags.rounds),
    "many": lambda flags: many.measure(),
    "pods": lambda flags: pods.measure(flags.rounds),
    "memory": lambda flags: memory.measure(flags.pods),
    "cold-run": lambda flags: cold_run.measure(flags.rounds),
    "pull": with_hyperd(pull.measure),
    "lazy": lambda flags: lazy.measure(flags.rounds),
    "attacked": lambda flags: attacked.measure(flags.rounds),
    "networks": lambda flags: networks.measure(flags.rounds, full=flags.full),
    "cp": lambda flags: cp.measure(min(flags.rounds, 3)),
    "build": lambda flags: build.measure(min(flags.rounds, 3)),
    "docker-api": lambda flags: docker_api.measure(min(flags.rounds, 5)),
    "disks": lambda flags: disks.measure(min(flags.rounds, 5)),
    "shared-volumes": lambda flags: shared_volumes.measure(min(flags.rounds, 5)),
    "commit": lambda flags: commit.measure(min(flags.rounds, 5)),
    "stream": lambda flags: stream.measure(),
    "through": lambda flags: through.measure(flags.rounds),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", usage=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--pods", type=int, default=40, help="idle ones, of the case memory")
    parser.add_argument("--full", action="store_true", help="as many as are promised, of the case networks")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    flags = parser.parse_args()
    rows: list[Row] = []
    for name in flags.only or CASES:
        print(f"bench: {name}", file=sys.stderr, flush=True)
        rows += CASES[name](flags)
    print(table(rows))
    write_json(rows, flags.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
