"""usage: make bench-compare BASE=REV [ARGS="[--with REV] [--rounds N]"]

Two revisions in turns: REV beside the working tree, or beside another one.  Each has a tree, a virtual environment and
hyperstart of its own, made by its own `make setup`; kernels and what else is cached they share.  The commands of
both are driven by this revision's code, so that one may be older than any of it.  Printed are medians and ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import ROOT
from bench.containers import Measured, exec_true, ready, run_true, sleep
from bench.measure import in_turns, median, run, spread

SETUP_TIMEOUT_S = 1800.0
SLEEPER = "sleeper"


class Revision(Measured):
    """The commands of ``tree``; ``clones``: it has templates, and so a policy for them."""

    def __init__(self, name: str, tree: Path) -> None:
        self.name = name
        self._command = tree / ".venv" / "bin" / "hyper"
        # Where the environment forbids Python to write bytecode, what was edited last would be compiled at each start.
        run([tree / ".venv" / "bin" / "python", "-m", "compileall", "-q", tree / "src"])
        self.clones = "--no-template" in run([self._command, "run", "--help"])
        super().__init__("[factory]\ncache = 0\n" if self.clones else "", making=self.clones)

    def argv(self, *words: str) -> list[str]:
        return [str(self._command), *words]

    def prepare(self) -> None:
        super().prepare()
        sleep(self, "--name", SLEEPER)


# By name, for both revisions: a run is what it is by default, but for clones that are kept ready.
CASES: dict[str, Callable[[Revision], object]] = {
    "version": lambda made: run(made.argv("version"), made.environment),
    "run --rm busybox true": run_true,
    "the same, cold": lambda made: run_true(made, *(["--no-template"] if made.clones else [])),
    "exec true": lambda made: exec_true(made, SLEEPER),
}


@contextlib.contextmanager
def tree_of(revision: str) -> Iterator[Path]:
    """The revision's files, and what `make setup` makes of them."""
    with tempfile.TemporaryDirectory(prefix="hyper-tree-") as name:
        archive, tree = Path(name, "tree.tar"), Path(name, "tree")
        run(["git", "-C", ROOT, "archive", "--output", archive, revision])
        with tarfile.open(archive) as tar:
            tar.extractall(tree, filter="data")
        print(f"bench: setting up {revision}", file=sys.stderr, flush=True)
        run(["make", "-C", tree, "setup", f"PYTHON={sys.executable}"], timeout_s=SETUP_TIMEOUT_S)
        yield tree


def compare(base: Revision, other: Revision, rounds: int) -> list[tuple[str, str, str, str]]:
    lines = [("what", base.name, other.name, "ratio")]
    for case, action in CASES.items():
        print(f"bench: {case}", file=sys.stderr, flush=True)
        taken = in_turns(rounds, base=partial(action, base), other=partial(action, other))
        figures = [f"{median(values):.3f} s ({spread(values)})" for values in taken.values()]
        lines.append((case, figures[0], figures[1], f"{median(taken['other']) / median(taken['base']):.2f}"))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-compare", usage=__doc__)
    parser.add_argument("base")
    parser.add_argument("--with", dest="other")
    parser.add_argument("--rounds", type=int, default=11)
    flags = parser.parse_args()
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(ready(Revision(flags.base, stack.enter_context(tree_of(flags.base)))))
        tree = stack.enter_context(tree_of(flags.other)) if flags.other else ROOT
        other = stack.enter_context(ready(Revision(flags.other or "working tree", tree)))
        lines = compare(base, other, flags.rounds)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
