"""A run while strangers do to hyperd all that they can (tests/support/attacks.py), beside a run in peace."""

from __future__ import annotations

import grp
from functools import partial

from attacks import Attacker, all_at_once
from bench.containers import Measured, ready, run_true
from bench.measure import Row, median, seconds, spread

MANY = 10
TRANSFERS = 100  # broken off, and as many that say nothing more
RATIO = 2.0
GROUP = "nogroup"


def measure(rounds: int) -> list[Row]:
    with ready(Measured(f'group = "{GROUP}"\n[factory]\ncache = 0\n')) as made:
        made.base.chmod(0o755)
        attacker = Attacker(made, MANY, grp.getgrnam(GROUP).gr_gid, TRANSFERS)
        attacker.prepare()
        run = partial(run_true, made)
        quiet = [seconds(run) for _ in range(rounds)]
        with all_at_once(attacker):
            loud = [seconds(run) for _ in range(rounds)]
    against = f"{RATIO} x in peace ({median(quiet):.3f} s, {spread(quiet)}); {spread(loud)}"
    name = "run --rm busybox true, under attack"
    return [Row(name, median(loud), "s", RATIO * median(quiet), against, tuple(loud))]
