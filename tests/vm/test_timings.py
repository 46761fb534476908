"""Where the time of a real run goes: every stage is told, and they are the whole."""

from __future__ import annotations

import itertools
import json
import time

import busybox_image
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
START = ["prepare", "vm", "guest", "configure", "root", "process"]


def test_a_run_tells_every_stage_and_they_are_the_whole(hyper: Hyper) -> None:
    before = time.monotonic()
    done = hyper("run", "--rm", "--timings", BUSYBOX, "true")
    took_ms = (time.monotonic() - before) * 1000
    title, *lines = done.stderr.decode().splitlines()
    shown = {name.strip(): float(ms) for name, ms in (line.rsplit(None, 1) for line in lines)}
    assert title.endswith(" start, in milliseconds:")
    assert list(shown) == ["command line", "image", "create", *START, "run", "end", "between", "total"]
    total_ms = shown.pop("total")
    assert abs(sum(shown.values()) - total_ms) < 1 + total_ms / 20
    assert total_ms < took_ms + 20  # the kernel's clock ticks
    assert shown["between"] < total_ms / 2


def test_the_events_of_a_run_tell_its_stages(hyper: Hyper) -> None:
    hyper("run", "--name", "timed", BUSYBOX, "sh", "-c", "exit 3", check=False)
    follower = hyper.popen(
        *("events", "--since", "5m", "--filter", "container=timed", "--format", "json"),
        stdout=-1,
    )
    with follower:
        assert follower.stdout is not None
        events = [json.loads(line) for line in itertools.islice(follower.stdout, 5)]
        follower.terminate()
    assert [event["Action"] for event in events] == ["create", "attach", "start", "die", "timings"]
    told = {event["Action"]: event["Actor"]["Attributes"] for event in events}
    assert told["start"]["vm"] == told["timings"]["vm"]

    def names(action: str) -> list[str]:
        return [part.partition("=")[0] for part in told[action]["timings"].split()]

    assert names("start") == START
    assert names("timings") == [*START, "run", "end"]
