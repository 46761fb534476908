"""User Mode Linux beside docker and QEMU's emulation: starts, what idle pods take, how fast programs are in it."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.containers import booted, exec_true, native, run_true, sleep
from bench.measure import Row, in_turns, median, run, spread
from bench.peers import Peer, peers
from bench.processes import all_of, pss_mib
from hyper import Hyper

COLD_S, COLD_RATIO = 0.15, 0.5
PSS_MIB = 16.0
SETTLED_S = 10.0  # after which what the guests have freed is the host's again
AT_ONCE = 4
# Of busybox alone, so that it is the same program on the host: sh counts, awk computes, sha256sum and gzip read 64 MiB.
PROGRAMS = {
    "sh": "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done",
    "awk": "busybox awk 'BEGIN { for (i = 0; i < 3000000; i++) s += i * i % 7; print s }'",
    "sha256sum": "busybox dd if=/dev/zero bs=1M count=64 2>/dev/null | busybox sha256sum",
    "gzip": "busybox dd if=/dev/zero bs=1M count=64 2>/dev/null | busybox gzip -1 | busybox wc -c",
}
HOST_RATIO = 1.1


def measure(rounds: int, pods: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        uml, qemu = stack.enter_context(native()), stack.enter_context(booted())
        found = [peer for peer in stack.enter_context(peers()).values() if isinstance(peer, Peer)]
        taken = in_turns(
            rounds,
            uml=partial(run_true, uml),
            unconnected=partial(run_true, uml, "--network", "none"),
            qemu=partial(run_true, qemu),
            **{peer.name: peer.run_true for peer in found},
        )
        own, emulated = median(taken["uml"]), median(taken["qemu"])
        beside = f"{emulated:.3f} s on QEMU's emulation, booted; {spread(taken['uml'])}"
        rows = [
            Row("run --rm busybox true, cold, User Mode Linux", own, "s", COLD_S, beside),
            Row("the same without a network", median(taken["unconnected"]), "s"),
        ]
        for peer in found:
            theirs = median(taken[peer.name])
            against = f"{COLD_RATIO} x {peer.name} run ({theirs:.3f} s; {peer.label})"
            rows.append(Row(f"the same, beside {peer.name} run", own, "s", COLD_RATIO * theirs, against))
        return rows + _programs(uml, qemu, rounds) + _idle(uml, pods)


def _programs(uml: Hyper, qemu: Hyper, rounds: int) -> list[Row]:
    rows = []
    for made in (uml, qemu):
        sleep(made, "--name", "worker")
    for name, script in PROGRAMS.items():
        taken = in_turns(
            rounds,
            host=partial(run, ["/bin/busybox", "sh", "-c", script]),
            uml=partial(_inside, uml, script),
            qemu=partial(_inside, qemu, script),
        )
        host, inside, emulated = (median(taken[where]) for where in ("host", "uml", "qemu"))
        beside = f"{HOST_RATIO} x the host's {host:.3f} s; QEMU's emulation {emulated:.3f} s"
        rows.append(Row(f"busybox {name} in a guest", inside, "s", HOST_RATIO * host, beside))
    for made in (uml, qemu):
        made("rm", "-f", "worker")
    return rows


def _inside(made: Hyper, script: str) -> None:
    run(made.argv("exec", "worker", "/bin/busybox", "sh", "-c", script), made.environment)


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
