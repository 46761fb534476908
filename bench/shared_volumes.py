"""The two kinds of named volumes beside each other: one stream, 4 KiB at a time, many small files."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from bench.containers import BUSYBOX, native
from bench.measure import Row, figures_in_turns, median, seconds, spread

KINDS = ("disk", "shared")
FILES = 500
WORK = {
    "64 MiB written and flushed": "dd if=/dev/zero of=/d/f bs=1M count=64 conv=fsync 2>/dev/null",
    "64 MiB read": "cat /d/f >/dev/null",
    "2,000 times 4 KiB written": "dd if=/dev/zero of=/d/f bs=4k count=2000 conv=notrunc 2>/dev/null",
    "2,000 times 4 KiB read": "dd if=/d/f of=/dev/null bs=4k count=2000 2>/dev/null",
    f"{FILES} small files made": f"rm -rf /d/n; mkdir /d/n; for i in $(seq {FILES}); do echo $i >/d/n/$i; done",
    f"{FILES} small files read": "cat /d/n/* >/dev/null",
}


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(native())
        for kind in KINDS:
            client("volume", "create", "-o", f"type={kind}", kind)
            client("run", "-d", "--name", kind, "-v", f"{kind}:/d", BUSYBOX, "sleep", "100000")
            stack.callback(client, "rm", "-f", kind)
        rows = []
        for what, script in WORK.items():
            ways = {kind: partial(_taken, client, kind, script) for kind in KINDS}
            taken = figures_in_turns(rounds, ways)
            for kind in KINDS:
                found = taken[kind]
                rows.append(
                    Row(f"{what}, {kind} volume", median(found), "s", None, spread(found), tuple(found))
                )
        return rows


def _taken(client: Any, kind: str, script: str) -> float:
    def work() -> None:
        done = client("exec", kind, "sh", "-c", script)
        assert done.returncode == 0, done.stderr

    return seconds(work)
