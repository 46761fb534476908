"""What networks cost at a start, what they carry, how their names are answered, and what is left when all have gone.

On User Mode Linux and on QEMU's emulation, each beside itself without what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import network_names, network_rates, network_turnover
from bench.containers import BUSYBOX, Measured, cloned, native, run_true
from bench.measure import Row, in_turns, median, spread

KINDS = ("none", "user", "bridge")
BRIDGE_RATIO = 1.1
PORTS, FIRST_PORT, PORTS_RATIO = 200, 20_000, 1.05
# What takes seconds a turn, or waits for the next VM to be ready.
FEWER, FEWEST = 4, 3
NAMED, NAMED_FULL = 100, 250


def measure(rounds: int, *, full: bool) -> list[Row]:
    rows = []
    with native() as uml, cloned() as qemu:
        for name in KINDS:
            qemu.has_template("--network", name, BUSYBOX, "true")
        rows += _starts("cold, User Mode Linux", uml, rounds)
        with native(1) as ready:
            rows += _starts("ready, User Mode Linux", ready, min(rounds, FEWEST))
        rows += _starts("cold, emulation", qemu, min(rounds, FEWER), "--no-template")
        rows += _starts("clone, emulation", qemu, rounds)
        rows += _ports("User Mode Linux", uml, rounds)
        rows += _ports("emulation", qemu, rounds)
        for where, made in (("uml", uml), ("qemu", qemu)):
            rows += network_rates.measure(where, made, min(rounds, FEWER))
        rows += network_rates.requests({"User Mode Linux": uml, "emulation": qemu}, min(rounds, FEWER))
        rows += network_names.measure(uml, NAMED_FULL if full else NAMED)
        rows += network_turnover.measure(uml, full=full)
    return rows


def _starts(how: str, made: Measured, rounds: int, *options: str) -> list[Row]:
    """By kind of network; of what stands ready each is made anew before the next turn."""
    if how.startswith("ready"):
        for name in KINDS:
            run_true(made, "--network", name)
            made.await_ready()
    actions: dict[str, Callable[[], object]] = {}
    for name in KINDS:
        actions[name] = partial(run_true, made, *options, "--network", name)
        if how.startswith("ready"):
            actions[f"{name} again"] = made.await_ready
    taken = in_turns(rounds, **actions)
    alone = median(taken["none"])
    rows = [Row(f"run --rm busybox true, network none, {how}", alone, "s", None, spread(taken["none"]))]
    for name in KINDS[1:]:
        took = median(taken[name])
        limit = BRIDGE_RATIO * alone if name == "bridge" else None
        against = f"{took / alone:.2f} x none; {spread(taken[name])}"
        rows.append(Row(f"the same, network {name}", took, "s", limit, against, tuple(taken[name])))
    return rows


def _ports(where: str, made: Measured, rounds: int) -> list[Row]:
    last = FIRST_PORT + PORTS - 1
    taken = in_turns(
        rounds,
        none=partial(run_true, made),
        one=partial(run_true, made, "-p", f"{FIRST_PORT}:{FIRST_PORT}"),
        all=partial(run_true, made, "-p", f"{FIRST_PORT}-{last}:{FIRST_PORT}-{last}"),
    )
    none, one, took = (median(taken[name]) for name in ("none", "one", "all"))
    against = (
        f"{PORTS_RATIO} x none ({none:.3f} s); {took / none:.2f} x, and {one / none:.2f} x with one port"
    )
    against += f"; {spread(taken['all'])}"
    name = f"the same with {PORTS} published ports, {where}"
    return [Row(name, took, "s", PORTS_RATIO * none, against, tuple(taken["all"]))]
