"""Pods of 1, 3 and 10 containers of one image, started beside a container that is alone; all are clones."""

from __future__ import annotations

import json
from functools import partial

from bench.containers import BUSYBOX, cloned
from bench.measure import Row, in_turns, median, run, spread
from hyper import Hyper

LIMITS = {1: 1.0, 3: 1.25, 10: 1.9}


def measure(rounds: int) -> list[Row]:
    with cloned() as made:
        made("create", "--name", "alone", BUSYBOX, "sleep", "1000000")
        for count in LIMITS:
            made("create", "--podfile", "-", stdin=podfile(count))
        actions = {"alone": partial(start, made, "start", "alone")}
        actions |= {f"of {count}": partial(start, made, "pod", "start", f"of-{count}") for count in LIMITS}
        taken = in_turns(rounds, after=partial(stop, made), **actions)
    alone = median(taken["alone"])
    rows = [Row("start of a container that is alone", alone, "s", None, spread(taken["alone"]))]
    for count, limit in LIMITS.items():
        values = taken[f"of {count}"]
        against = f"{limit} x the container that is alone; {spread(values)}"
        rows.append(Row(f"pod start, {count} of one image", median(values), "s", limit * alone, against))
    return rows


def podfile(count: int) -> bytes:
    containers = [
        {"name": f"of-{count}-{number}", "image": BUSYBOX, "command": ["sleep", "1000000"]}
        for number in range(count)
    ]
    return json.dumps({"id": f"of-{count}", "containers": containers}).encode()


def start(made: Hyper, *words: str) -> None:
    run(made.argv(*words), made.environment)


def stop(made: Hyper) -> None:
    """What was started goes, and is not there to slow the next."""
    run(made.argv("stop", "-t", "0", "alone"), made.environment)
    for count in LIMITS:
        run(made.argv("pod", "stop", "-t", "0", f"of-{count}"), made.environment)
