"""Starts and execs, of clones and from the warm pool, beside a bare clone, docker and podman.

All that is compared is taken in turns, from the fork of the command to its exit status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial

from bench.bare_clone import bare_clone
from bench.cold_run import image_disk
from bench.containers import LAYERED, LAYERS, cloned, exec_true, kind, layered_image, run_true, sleep
from bench.measure import Row, in_turns, median, spread
from bench.peers import Absent, Peer, peers
from bench.processes import cpu_s
from hyper import Hyper

START_S = 0.350
BARE_RATIO = 1.5
PEER_RATIO = 1.0
WARM_START_S = 0.180
LAYERED_RATIO = 1.1
EXEC_S = 0.120
EXEC_OUTSIDE_S = 0.060
POOL = 2

Taken = Mapping[str, list[float]]
Peers = Mapping[str, Peer | Absent]


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        clones, pool = (stack.enter_context(cloned(kept)) for kept in (0, POOL))
        bare = stack.enter_context(bare_clone(image_disk(clones)))
        clones("load", stdin=layered_image())
        found = stack.enter_context(peers())
        taken = in_turns(
            rounds,
            clone=partial(run_true, clones),
            layered=partial(run_true, clones, image=LAYERED),
            warm=partial(run_true, pool),
            refill=pool.await_ready,
            cold=partial(run_true, clones, "--no-template"),
            fresh=bare.fresh,
            bare=bare.run,
            **{peer.name: peer.run_true for peer in _present(found)},
        )
        rows = [*_clone_rows(taken, kind(clones)), *_peer_rows(taken, found), *_other_rows(taken, kind(pool))]
        return rows + _measure_exec(clones, found, rounds)


def _clone_rows(taken: Taken, kind_of_vm: str) -> list[Row]:
    bare = median(taken["bare"])
    against = f"{BARE_RATIO} x a bare QEMU clone that mounts and runs ({bare:.3f} s, {spread(taken['bare'])})"
    return [
        _row("run --rm busybox true, clone", taken["clone"], START_S, _odd(kind_of_vm, "clone")),
        _row("the same, beside a bare clone", taken["clone"], BARE_RATIO * bare, against),
    ]


def _peer_rows(taken: Taken, found: Peers) -> list[Row]:
    rows = []
    for name, peer in found.items():
        limit, against = None, f"{name}: {peer.reason}" if isinstance(peer, Absent) else ""
        if isinstance(peer, Peer):
            theirs = median(taken[name])
            limit = PEER_RATIO * theirs
            against = f"{PEER_RATIO} x {name} run ({theirs:.3f} s, {spread(taken[name])}; {peer.label})"
        rows.append(_row(f"the same, beside {name} run", taken["clone"], limit, against))
    return rows


def _other_rows(taken: Taken, kind_of_vm: str) -> list[Row]:
    clone = median(taken["clone"])
    layered = f"{LAYERED_RATIO} x the image with one layer"
    cold = f"{median(taken['cold']) / clone:.2f} x the clone"
    return [
        _row("the same, from the warm pool", taken["warm"], WARM_START_S, _odd(kind_of_vm, "warm")),
        _row(f"the same, {LAYERS} layers, clone", taken["layered"], LAYERED_RATIO * clone, layered),
        _row("the same, cold", taken["cold"], None, cold),
    ]


def _measure_exec(made: Hyper, found: Peers, rounds: int) -> list[Row]:
    """What the guest takes of an exec is the time that QEMU's threads for it compute meanwhile."""
    sleep(made, "--name", "sleeper")
    vm = made.vm_pid("sleeper")
    guest_s: list[float] = []
    taken = in_turns(
        4 * rounds,
        before=lambda: guest_s.append(-cpu_s(vm, main_thread=False)),
        hyper=partial(exec_true, made, "sleeper"),
        after=lambda: guest_s.append(guest_s.pop() + cpu_s(vm, main_thread=False)),
        **{peer.name: peer.exec_true for peer in _present(found)},
    )
    outside = [whole - inside for whole, inside in zip(taken["hyper"], guest_s[1:], strict=True)]
    beside = [f"{peer.name} exec {median(taken[peer.name]):.3f} s" for peer in _present(found)]
    inside = f"the rest: {median(guest_s[1:]):.3f} s of the guest's processor"
    return [
        _row("exec true in a running container", taken["hyper"], EXEC_S, ", ".join(beside)),
        _row("of it outside the guest", outside, EXEC_OUTSIDE_S, inside),
    ]


def _present(found: Peers) -> list[Peer]:
    return [peer for peer in found.values() if isinstance(peer, Peer)]


def _odd(kind_of_vm: str, wanted: str) -> str:
    return "" if kind_of_vm == wanted else f"its VM is {kind_of_vm}, not {wanted}"


def _row(name: str, taken: list[float], limit: float | None, against: str) -> Row:
    words = [against] if against else []
    return Row(name, median(taken), "s", limit, "; ".join([*words, spread(taken)]), tuple(taken))
