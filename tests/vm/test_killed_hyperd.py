"""`kill -9` of hyperd at seeded random moments of every verb: the next one serves, and every container is whole or
truthfully reported."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import busybox_image
from audit import Audit, daemon_pid, kill_process
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.suite.leftovers import state
from libvirt_bed import LibvirtBed
from soak import rounds
from until import until

BUSYBOX = busybox_image.REFERENCE
WAITS = 100
SERVES_S = 30  # within seconds; the rest is for a busy machine
SCRIPT = ("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 1000 & wait $!; done")

Verb = Callable[[random.Random, list[str]], list[str]]


def named(rng: random.Random, names: list[str]) -> str:
    return rng.choice(names) if names else "nobody"


# What may be under way, and how long it takes at most, in seconds, on a quiet machine.
VERBS: dict[str, tuple[float, Verb]] = {
    "create": (0.3, lambda rng, names: ["create", BUSYBOX, *SCRIPT]),
    "run": (2.0, lambda rng, names: ["run", "-d", BUSYBOX, *SCRIPT]),
    "run --rm": (2.5, lambda rng, names: ["run", "--rm", BUSYBOX, "sh", "-c", "echo short"]),
    "start": (1.5, lambda rng, names: ["start", named(rng, names)]),
    "stop": (1.0, lambda rng, names: ["stop", named(rng, names)]),
    "restart": (2.0, lambda rng, names: ["restart", named(rng, names)]),
    "kill": (0.5, lambda rng, names: ["kill", named(rng, names)]),
    "exec": (0.5, lambda rng, names: ["exec", named(rng, names), "echo", "hello"]),
    "rm": (0.5, lambda rng, names: ["rm", "-f", named(rng, names)]),
}
WEIGHTS = (1, 3, 2, 3, 2, 2, 1, 1, 2)
MOST = 3  # containers at a time


def test_hyperd_killed_at_any_moment(own_hyper: Hyper) -> None:
    deaths(own_hyper, Audit(own_hyper), random.Random(2), rounds(short=8, soak=200))


class LibvirtAudit(Audit):
    """What libvirt has is what runs."""

    def __init__(self, hyper: Hyper, bed: LibvirtBed) -> None:
        super().__init__(hyper)
        self._bed = bed

    def machines(self) -> set[int]:
        """Their command lines say nothing of hyperd's folders; and libvirtd looks a while later whether they ended."""
        places = (self._bed.folder / "run/qemu").glob("*.pid")
        found = {int(path.read_text()) for path in places if path.stem != "driver"}
        return {pid for pid in found if state(Path(f"/proc/{pid}")) not in ("", "Z")}

    def check(self) -> dict[str, Any]:
        known = super().check()
        running = sorted(one["Name"].removeprefix("/") for one in known.values() if one["State"]["Running"])
        until(lambda: sorted(self._bed.domains()) == running, f"libvirt has {running} alone", deadline_s=5)
        return known


def test_hyperd_killed_at_any_moment_of_libvirts_vms() -> None:
    with (
        LibvirtBed() as bed,
        hyper_context(f'{NO_POOL}[hypervisor.libvirt]\nuri = "{bed.uri}"\n', hypervisor="libvirt") as hyper,
    ):
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        deaths(hyper, LibvirtAudit(hyper, bed), random.Random(3), rounds(short=2, soak=50))


def deaths(hyper: Hyper, audit: Audit, rng: random.Random, times: int) -> None:
    hyper("create", BUSYBOX, *SCRIPT)
    for number in range(times):
        known = audit.check()
        if len(known) >= MOST:
            for identifier in known:
                hyper("rm", "-f", identifier)
            audit.nothing()
            known = {}
        one_death(hyper, rng, audit, list(known), number)
    for identifier in audit.check():
        hyper("rm", "-f", identifier)
    audit.nothing()


def one_death(hyper: Hyper, rng: random.Random, audit: Audit, names: list[str], number: int) -> None:
    (verb,) = rng.choices(list(VERBS), WEIGHTS)
    most_s, words = VERBS[verb]
    client = hyper.popen(*words(rng, names), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with client:
        time.sleep(rng.uniform(0, most_s))  # some moment, seeded; every one has to do
        assert kill_process(daemon_pid(hyper)), f"round {number}: hyperd was dead before"
        client.wait(WAITS)
    audit.look()
    hyper("ps", timeout_s=SERVES_S)


def test_a_directory_without_a_record_is_swept(own_hyper: Hyper) -> None:
    """What a creation that was cut off leaves, and what a VM that was never let go leaves."""
    hyper, audit = own_hyper, Audit(own_hyper)
    hyper("create", "--name", "c", BUSYBOX, "true")
    kill_process(daemon_pid(hyper))
    (hyper.root / "containers" / ("0" * 64)).mkdir()
    (hyper.run_dir / "pods" / ("0" * 12)).mkdir()
    (hyper.run_dir / "pods" / ("1" * 12)).mkdir()
    (hyper.run_dir / "pods" / ("1" * 12) / "vm.json").write_bytes(b"\xff{")
    assert len(audit.check()) == 1
