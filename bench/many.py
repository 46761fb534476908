"""Fifty containers, started one after another and eight at a time: all of them run, none is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.containers import cloned, sleep
from bench.measure import Row, seconds
from hyper import Hyper

COUNT = 50
LIMIT_S = {1: 15.0, 8: 10.0}


def measure() -> list[Row]:
    rows = []
    with cloned() as made:
        for at_once, limit_s in LIMIT_S.items():
            started: list[str] = []
            took = seconds(partial(start, made, started, at_once))
            running = set(made.out("ps", "-q", "--no-trunc").split())
            lost = COUNT - len(running & set(started))
            how = "one after another" if at_once == 1 else f"{at_once} at a time"
            rows.append(Row(f"{COUNT} x run -d, {how}", took, "s", limit_s, f"{took / COUNT:.3f} s each"))
            rows.append(Row("of them not running afterwards", lost, "", 0))
            made("rm", "-f", *started, timeout_s=600)
    return rows


def start(made: Hyper, started: list[str], at_once: int) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        started += pool.map(lambda _: sleep(made), range(COUNT))
