"""User Mode Linux beside docker and QEMU's emulation: starts, and what idle pods take."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.containers import booted, exec_true, native, run_true, sleep
from bench.measure import Row, in_turns, median, spread
from bench.peers import Peer, peers
from bench.processes import all_of, pss_mib
from hyper import Hyper

COLD_S, COLD_RATIO = 0.15, 0.5
WARM_S, POOL = 0.06, 2
PSS_MIB = 16.0
SETTLED_S = 10.0  # after which what the guests have freed is the host's again
AT_ONCE = 4


def measure(rounds: int, pods: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        uml, qemu = stack.enter_context(native()), stack.enter_context(booted())
        pool = stack.enter_context(native(POOL))
        found = [peer for peer in stack.enter_context(peers()).values() if isinstance(peer, Peer)]
        taken = in_turns(
            rounds,
            uml=partial(run_true, uml),
            warm=partial(run_true, pool),
            refill=pool.await_ready,
            unconnected=partial(run_true, uml, "--network", "none"),
            qemu=partial(run_true, qemu),
            **{peer.name: peer.run_true for peer in found},
        )
        own, emulated = median(taken["uml"]), median(taken["qemu"])
        beside = f"{emulated:.3f} s on QEMU's emulation, booted; {spread(taken['uml'])}"
        rows = [
            Row("run --rm busybox true, cold, User Mode Linux", own, "s", COLD_S, beside),
            Row(
                "the same from a VM that stands ready",
                median(taken["warm"]),
                "s",
                WARM_S,
                spread(taken["warm"]),
            ),
            Row("the same without a network", median(taken["unconnected"]), "s"),
        ]
        for peer in found:
            theirs = median(taken[peer.name])
            against = f"{COLD_RATIO} x {peer.name} run ({theirs:.3f} s; {peer.label})"
            rows.append(Row(f"the same, beside {peer.name} run", own, "s", COLD_RATIO * theirs, against))
        return rows + _idle(uml, pods)


def _idle(made: Hyper, pods: int) -> list[Row]:
    before_mib = pss_mib(all_of(made))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        names = list(pool.map(lambda _: sleep(made), range(pods)))
    time.sleep(SETTLED_S)
    each_mib = (pss_mib(all_of(made)) - before_mib) / pods
    silent = 0
    for name in names:
        try:
            exec_true(made, name)
        except AssertionError:
            silent += 1
    made("rm", "-f", *names, timeout_s=600)
    return [
        Row(
            f"PSS of one of {pods} idle pods, User Mode Linux", each_mib, "MiB", PSS_MIB, "all its processes"
        ),
        Row("of them not answering exec", silent, "", 0),
    ]
