"""Pods that come into networks and leave them again and again: how many a second, and what is left of them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from bench.containers import BUSYBOX
from bench.measure import Row, run, seconds
from hyper import Hyper
from hypercontainer.linux import netns
from hypercontainer.network.parts import TAP, Fabric, Place
from pod_by_hand import A, networks
from private_host import private_host, said
from until import until

CONTAINERS, SETTLED_S = 30, 5.0
CYCLES, CYCLES_FULL = 300, 10_000
WAVE = 100  # pods that end at once
GONE_S = 600.0


def measure(made: Hyper, *, full: bool) -> list[Row]:
    return [*_containers(made), *_by_hand(CYCLES_FULL if full else CYCLES)]


def _containers(made: Hyper) -> list[Row]:
    """In two networks, with a published port."""
    made("network", "create", "turnover")
    words = ("--network", "bridge", "--network", "turnover", "-p", "127.0.0.1::80")
    argv = made.argv("run", "--rm", *words, BUSYBOX, "true")
    run(argv, made.environment)
    before = left(made)
    took_s = seconds(lambda: [run(argv, made.environment) for _ in range(CONTAINERS)])
    with contextlib.suppress(AssertionError):  # what goes goes within a moment of its container
        until(lambda: left(made) <= before, "nothing left", deadline_s=SETTLED_S)
    after = left(made)
    made("network", "rm", "turnover")
    against = f"{CONTAINERS / took_s:.1f} a second"
    name = f"left of {CONTAINERS} x run --rm in two networks with a port"
    return [Row(name, len(after - before), "", 0, "; ".join([against, *sorted(after - before)]))]


def inside(made: Hyper) -> list[str]:
    """What goes before a command, to have it run where the networks are."""
    keeper = json.loads((made.run_dir / "networks" / "keeper.json").read_bytes())["pid"]
    return ["nsenter", "-t", str(keeper), "-n", "--"]


def left(made: Hyper) -> set[str]:
    """Devices, elements of sets, addresses that are somebody's."""
    found = {f"device {link['ifname']}" for link in json.loads(run([*inside(made), "ip", "-j", "link"]))}
    rules = json.loads(run([*inside(made), "nft", "-j", "list", "ruleset"]))
    found |= elements(rules)
    found |= elements(json.loads(run(["nft", "-j", "list", "ruleset"])))
    for network in made.json("network", "inspect", "bridge", "turnover"):
        found |= {f"address {each}" for each in network["Containers"]}
    return found


def elements(rules: Any) -> set[str]:
    """Of all sets and maps in nft's JSON."""
    found = set()
    for entry in rules["nftables"]:
        for kind in ("set", "map"):
            if kind in entry:
                each = entry[kind]
                found |= {f"{each['table']} {each['name']} {json.dumps(one)}" for one in each.get("elem", ())}
    return found


def _by_hand(cycles: int) -> list[Row]:
    """On a private host, where a fabric has a network and pods that are no more than a tap device."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-bench-")))
        stack.enter_context(private_host(folder))
        fabric = stack.enter_context(
            networks(folder / "fabric", A)
        )  # nothing is left on the host, or it says so
        before = _state(fabric)
        took_s = seconds(partial(_cycles, fabric, cycles))
        after = _state(fabric)
        waited_s = _wave(fabric)
    lost = set(after.splitlines()) ^ set(before.splitlines())
    what = f"{cycles} x tap, plug, unplug and drop"
    return [
        Row(
            f"left of {what}", len(lost), "", 0, "; ".join([f"{cycles / took_s:.0f} a second", *sorted(lost)])
        ),
        Row(f"a tap device just when {WAVE} pods have ended", waited_s, "s"),
    ]


def _place(number: int) -> Place:
    mac = f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    own = [str(gateway.network[2 + number % 250]) for gateway in A.gateways]
    return Place(f"{TAP}{number:x}", A, mac, tuple(own))


def _cycles(fabric: Fabric, count: int) -> None:
    for number in range(count):
        place = _place(number)
        tap = netns.tap(fabric.namespace.control, place.tap)
        fabric.plug(place)
        fabric.unplug(place)
        os.close(tap)
        fabric.drop(place.tap)


def _wave(fabric: Fabric) -> float:
    """Seconds that the next pod waits for its device."""
    places = [_place(number) for number in range(WAVE)]
    taps = [netns.tap(fabric.namespace.control, place.tap) for place in places]
    for place, tap in zip(places, taps, strict=True):
        fabric.plug(place)
        os.close(tap)
    began = time.perf_counter()
    for place in places:
        fabric.drop(place.tap)
    os.close(netns.tap(fabric.namespace.control, "t-next"))
    took_s = time.perf_counter() - began
    for place in places:
        fabric.unplug(place)
    fabric.drop("t-next")
    return took_s


def _state(fabric: Fabric) -> str:
    """Once the kernel has taken all devices away, each of which lasts one of its grace periods."""
    there = ("nsenter", "-t", str(fabric.namespace.pid), "-n", "--")

    def devices() -> list[str]:
        with contextlib.suppress(AssertionError):  # of what changes while it looks, ip complains
            names = [line.split("@")[0].split()[1] for line in said(*there, "ip", "-o", "link").splitlines()]
            return [] if any(name.startswith(TAP) for name in names) else names
        return []

    shown = until(devices, "the end of all tap devices", deadline_s=GONE_S)
    return "\n".join(shown) + said(*there, "nft", "list", "ruleset")
