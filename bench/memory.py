"""What idle pods take: memory, shared fairly (PSS), and processor time; and the smallest guest there is.

A pod's share of hyperd is what hyperd has grown by since before there were any, divided among them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.containers import cloned, exec_true, run_true, sleep
from bench.measure import Row, median, seconds
from bench.processes import all_of, cpu_s, pss_mib
from hyper import Hyper
from hypercontainer.linux.memory import available_bytes

PSS_MIB = 45.0
IDLE_PERCENT = 0.4
IDLE_S = 10.0  # of doing nothing, which is what is measured
SMALLEST = "32m"
AT_ONCE = 4


def measure(pods: int) -> list[Row]:
    with cloned() as made:
        before_mib = pss_mib(all_of(made))
        first = sleep(made)
        time.sleep(IDLE_S)
        alone_mib = pss_mib(all_of(made)) - before_mib
        with ThreadPoolExecutor(AT_ONCE) as pool:
            names = [first, *pool.map(lambda _: sleep(made), range(pods - 1))]
        time.sleep(IDLE_S)
        percent, daemon_percent = idle_percent(made, names)
        each_mib = (pss_mib(all_of(made)) - before_mib) / pods
        silent = sum(not answers(made, name) for name in names)
        left = f"{available_bytes() >> 20} MiB of the machine's memory are available beside them"
        made("rm", "-f", *names, timeout_s=600)
        idle = (
            f"the one that takes most; median {median(percent):.2f} %, hyperd for all {daemon_percent:.2f} %"
        )
        return [
            Row(
                "PSS of an idle pod of 128 MiB, alone", alone_mib, "MiB", PSS_MIB, "QEMU, and hyperd's growth"
            ),
            Row(f"PSS of one of {pods} such pods", each_mib, "MiB", PSS_MIB, left),
            Row("of them not answering exec", silent, "", 0),
            Row("idle processor time of each", max(percent), "%", IDLE_PERCENT, idle, tuple(percent)),
            smallest(made),
        ]


def idle_percent(made: Hyper, names: list[str]) -> tuple[list[float], float]:
    """Of a core: each pod's, and hyperd's, while nobody asks anything of them."""
    pids = [made.vm_pid(name) for name in names] + [made.daemon_pid()]
    before_s, begin_s = [cpu_s(pid) for pid in pids], time.monotonic()
    time.sleep(IDLE_S)
    after_s, length_s = [cpu_s(pid) for pid in pids], time.monotonic() - begin_s
    *pods, daemon = [100 * (b - a) / length_s for a, b in zip(before_s, after_s, strict=True)]
    return pods, daemon


def answers(made: Hyper, name: str) -> bool:
    try:
        exec_true(made, name)
    except AssertionError:
        return False
    return True


def smallest(made: Hyper) -> Row:
    name = f"guests of {SMALLEST} that do not run busybox"
    kernel = made.json("info", "--format", "json")["Kernel"]
    try:
        took = seconds(partial(run_true, made, "-m", SMALLEST))
    except AssertionError as error:
        return Row(name, 1, "", 0, f"{kernel}: {str(error).splitlines()[-1]}")
    return Row(name, 0, "", 0, f"{kernel}; {took:.3f} s from start to exit")
