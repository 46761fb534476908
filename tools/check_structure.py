"""Checks what a linter does not: ``tools/structure/`` has a module for each rule, and the architecture as tables.

Exit status 1 and a line per finding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from structure import circles, imports, paths, sizes, unused, words
from structure.house import House

RULES: dict[str, Callable[[House], Iterator[str]]] = {
    "imports": imports.findings,
    "circles": circles.findings,
    "words": words.findings,
    "paths": paths.findings,
    "unused": unused.findings,
    "sizes": sizes.findings,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path())
    parser.add_argument("--only", action="append", choices=RULES, help="this rule; may be repeated")
    asked = parser.parse_args(arguments)
    house = House(asked.root)
    found = dict.fromkeys(line for rule in asked.only or RULES for line in RULES[rule](house))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
