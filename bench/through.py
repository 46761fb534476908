"""100 MiB into, out of and through a container that runs, beside docker: what the guest takes, and what the rest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from bench.containers import cloned, sleep
from bench.measure import Row, median, spread
from bench.peers import CONTAINER, Absent, Peer, peers
from bench.processes import cpu_s
from hyper import Hyper

BYTES = 100 << 20
BLOCK = hashlib.shake_256(b"hyper").digest(1 << 20)
OUTSIDE_RATIO = 2.0
# What runs in the container, and whether it reads.
WAYS: Mapping[str, tuple[Sequence[str], bool]] = {
    "into `exec -i sh -c 'cat >/dev/null'`": (("sh", "-c", "cat >/dev/null"), True),
    "out of `exec head -c`": (("head", "-c", str(BYTES), "/dev/zero"), False),
    "through `exec -i cat`": (("cat",), True),
}


@dataclass(frozen=True)
class Taken:
    """Seconds: of the clock, and of the processor by who took it."""

    whole: float
    client: float
    daemon: float = 0
    qemu: float = 0
    guest: float = 0

    @property
    def outside(self) -> float:
        return self.whole - self.guest


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(cloned(0))
        sleep(made, "--name", "sleeper", "--log-driver", "none")
        docker = stack.enter_context(peers())["docker"]
        rows = []
        for name, (words, reads) in WAYS.items():
            ours: list[Taken] = []
            theirs: list[Taken] = []
            for number in range(rounds + 1):
                turn = _ours(made, words, reads=reads)
                other = _theirs(docker, words, reads=reads) if isinstance(docker, Peer) else None
                if number:
                    ours.append(turn)
                    theirs += [other] if other else []
            rows += _rows(name, ours, theirs, docker)
        return rows


def _rows(name: str, ours: list[Taken], theirs: list[Taken], docker: Peer | Absent) -> list[Row]:
    outside = [turn.outside for turn in ours]
    limit, against = None, f"docker: {docker.reason}" if isinstance(docker, Absent) else ""
    if isinstance(docker, Peer):
        whole = median([turn.whole for turn in theirs])
        limit = OUTSIDE_RATIO * whole
        against = f"{OUTSIDE_RATIO} x docker exec ({whole:.3f} s, {spread([t.whole for t in theirs])}; {docker.label})"
    parts = ", ".join(
        f"{part} {median([getattr(turn, part) for turn in ours]):.3f}"
        for part in ("client", "daemon", "qemu", "guest")
    )
    whole_s = [turn.whole for turn in ours]
    return [
        Row(f"{BYTES >> 20} MiB {name}", median(whole_s), "s", None, f"processor: {parts}", tuple(whole_s)),
        Row(
            "of it outside the guest",
            median(outside),
            "s",
            limit,
            f"{against}; {spread(outside)}",
            tuple(outside),
        ),
    ]


def _ours(made: Hyper, words: Sequence[str], *, reads: bool) -> Taken:
    vm, daemon = made.vm_pid("sleeper"), made.daemon_pid()

    def now() -> tuple[float, float, float]:
        all_s, guest_s = cpu_s(vm), cpu_s(vm, main_thread=False)
        return cpu_s(daemon), all_s - guest_s, guest_s

    before = now()
    argv = made.argv("exec", *(["-i"] if reads else []), "sleeper", *words)
    whole, client = _pump(argv, made.environment, reads=reads)
    daemon_s, qemu_s, guest_s = (after - earlier for after, earlier in zip(now(), before, strict=True))
    return Taken(whole, client, daemon_s, qemu_s, guest_s)


def _theirs(docker: Peer, words: Sequence[str], *, reads: bool) -> Taken:
    argv = [*docker.client, "exec", *(["-i"] if reads else []), CONTAINER, *words]
    return Taken(*_pump(argv, docker.environment, reads=reads))


def _pump(argv: Sequence[str], environment: Mapping[str, str], *, reads: bool) -> tuple[float, float]:
    """(the whole, processor time of the command); all that comes back is counted."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE if reads else subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    feeder = threading.Thread(target=_feed, args=(process.stdin,)) if reads else None
    if feeder is not None:
        feeder.start()
    seen = 0
    while part := process.stdout.read(len(BLOCK)):
        seen += len(part)
    if feeder is not None:
        feeder.join()
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - begin
    assert process.returncode == 0
    assert seen in (0, BYTES), f"{seen} bytes came back"
    return took, used.ru_utime + used.ru_stime


def _feed(stream: IO[bytes]) -> None:
    with stream:
        for _ in range(BYTES // len(BLOCK)):
            stream.write(BLOCK)
