"""Fifty containers, started one after another and eight at a time: all of them run, none is lost; on both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.containers import cloned, native, sleep
from bench.measure import Row, seconds
from hyper import Hyper

COUNT = 50
LIMIT_S = {1: 15.0, 8: 10.0}
NATIVE_LIMIT_S = {1: 6.0, 8: 4.0}


def measure() -> list[Row]:
    rows = []
    for on, limits in ((cloned, LIMIT_S), (native, NATIVE_LIMIT_S)):
        with on() as made:
            for at_once, limit_s in limits.items():
                rows += measured(made, at_once, limit_s, "" if on is cloned else ", User Mode Linux")
    return rows


def measured(made: Hyper, at_once: int, limit_s: float, where: str) -> list[Row]:
    started: list[str] = []
    took = seconds(partial(start, made, started, at_once))
    running = set(made.out("ps", "-q", "--no-trunc").split())
    lost = COUNT - len(running & set(started))
    how = "one after another" if at_once == 1 else f"{at_once} at a time"
    made("rm", "-f", *started, timeout_s=600)
    return [
        Row(f"{COUNT} x run -d, {how}{where}", took, "s", limit_s, f"{took / COUNT:.3f} s each"),
        Row("of them not running afterwards", lost, "", 0),
    ]


def start(made: Hyper, started: list[str], at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        started += pool.map(lambda _: sleep(made), range(COUNT))
