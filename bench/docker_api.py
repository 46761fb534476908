"""Docker's own clients in front of hyperd, beside `hyper` and beside dockerd.

The command line and compose are those of Debian's newest suite, and so is the dockerd: the same clients ask both.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import busybox_image
import dockerd
from bench.containers import BUSYBOX, cloned, run_true
from bench.measure import Row, in_turns, median, percentile, run, seconds, spread
from bench.processes import cpu_s, pss_mib
from docker_clients import Clients
from hyper import Hyper

RUN_RATIO, PEER_RATIO, UP_RATIO = 1.15, 1.0, 1.0
PS_S, PS_ROUNDS, PS_CONTAINERS = 0.060, 1000, 200
CLI_ROUNDS = 50  # a process each
FOLLOWERS, FOLLOWED, IDLE_S = 500, 50, 10.0
SERVICES = 6
PROJECT = "services:\n" + "".join(
    f"  s{number}: {{image: '{BUSYBOX}', init: true, command: [sleep, '1000000']}}\n"
    for number in range(SERVICES)
)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self._path)

    def ask(self, path: str) -> None:
        self.request("GET", path)
        assert self.getresponse().read()


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        hyper = stack.enter_context(cloned(0))
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-bench-clients-")))
        ours = Clients(hyper.run_dir / "docker.sock", _made(work / "hyperd"))
        rows = _beside(hyper, ours, work, rounds, stack)
        rows += _lists(ours)
        return rows + _followers(hyper, ours)


def _beside(hyper: Hyper, ours: Clients, work: Path, rounds: int, stack: contextlib.ExitStack) -> list[Row]:
    actions: dict[str, Callable[[], object]] = {"hyper": partial(run_true, hyper), "ours": _runs(ours)}
    up = {"ours": ours}
    try:
        peer = stack.enter_context(dockerd.dockerd(newest=True))
    except dockerd.Absent as absent:
        label = f"no dockerd: {absent}"
    else:
        theirs = Clients(Path(peer.client[2].removeprefix("unix://")), _made(work / "dockerd"))
        theirs.docker("load", stdin=busybox_image.archive([busybox_image.layer()]))
        actions["theirs"], up["theirs"] = _runs(theirs), theirs
        label = f"dockerd {theirs.out('info', '--format', '{{.ServerVersion}}, {{.Driver}}')}"
    taken = in_turns(rounds, **actions)
    whole = {name: _up(clients, work / f"{name}-project", rounds) for name, clients in up.items()}
    name = "docker run --rm busybox true"
    against = f"{RUN_RATIO} x hyper run ({median(taken['hyper']):.3f} s, {spread(taken['hyper'])})"
    rows = [_row(name, taken["ours"], RUN_RATIO * median(taken["hyper"]), against)]
    for what, ratio, times in (
        (name, PEER_RATIO, taken),
        (f"compose up -d, {SERVICES} services", UP_RATIO, whole),
    ):
        limit = ratio * median(times["theirs"]) if "theirs" in times else None
        against = f"{ratio} x {label} ({spread(times['theirs'])})" if "theirs" in times else label
        rows.append(_row(f"{what}, beside dockerd", times["ours"], limit, against))
    return rows


def _runs(clients: Clients) -> Callable[[], object]:
    return partial(run, clients.docker_argv("run", "--rm", BUSYBOX, "true"), clients.environment)


def _up(clients: Clients, folder: Path, rounds: int) -> list[float]:
    """Seconds of each."""
    file = _made(folder) / "compose.yaml"
    file.write_text(PROJECT)
    words = ("compose", "-p", "bench", "-f", str(file))
    taken = []
    for _ in range(rounds):
        taken.append(seconds(partial(run, clients.docker_argv(*words, "up", "-d"), clients.environment)))
        clients.docker(*words, "down", "-t", "1")
    return taken


def _lists(ours: Clients) -> list[Row]:
    for _ in range(PS_CONTAINERS):
        ours.docker("create", BUSYBOX, "true")
    with contextlib.closing(_Connection(ours.socket)) as connection:
        ask = partial(connection.ask, "/v1.51/containers/json?all=1")
        wire = [seconds(ask) for _ in range(PS_ROUNDS)]
    listed = partial(run, ours.docker_argv("ps", "-a"), ours.environment)
    shown = [seconds(listed) for _ in range(CLI_ROUNDS)]
    ours.docker("rm", "-f", *ours.out("ps", "-aq").split())
    what = f"docker ps -a of {PS_CONTAINERS}"
    return [
        Row(
            f"{what}, p99 of {PS_ROUNDS} requests", percentile(wire, 99), "s", PS_S, spread(wire), tuple(wire)
        ),
        Row(
            f"{what}, p99 of {CLI_ROUNDS} commands",
            percentile(shown, 99),
            "s",
            None,
            spread(shown),
            tuple(shown),
        ),
    ]


def _followers(hyper: Hyper, ours: Clients) -> list[Row]:
    """Of what says nothing; of all kinds together, and of each."""
    names = [f"silent-{number}" for number in range(FOLLOWED)]
    for name in names:
        ours.docker("run", "-d", "--init", "--name", name, BUSYBOX, "sleep", "1000000")
    kinds = {
        "events": ["GET /v1.51/events"],
        "one log": [f"GET /v1.51/containers/{names[0]}/logs?follow=1&stdout=1"],
        f"{FOLLOWED} logs": [f"GET /v1.51/containers/{name}/logs?follow=1&stdout=1" for name in names],
        f"{FOLLOWED} waits": [f"POST /v1.51/containers/{name}/wait" for name in names],
        f"{FOLLOWED} attached": [f"POST /v1.51/containers/{name}/attach?stream=1&stdout=1" for name in names],
    }
    rows = [row for kind, targets in kinds.items() for row in _idle(hyper.daemon_pid(), ours, kind, targets)]
    ours.docker("rm", "-f", *names)
    return rows


def _idle(pid: int, ours: Clients, kind: str, targets: list[str]) -> list[Row]:
    without = pss_mib([pid])
    with _open(ours.socket, [targets[number % len(targets)] for number in range(FOLLOWERS)]):
        before = cpu_s(pid)
        time.sleep(IDLE_S)
        spent, held = cpu_s(pid) - before, pss_mib([pid]) - without
    what = f"{FOLLOWERS} idle followers, {kind}"
    return [
        Row(f"hyperd's processor time, {what}, {IDLE_S:g} s", spent, "s"),
        Row(f"hyperd's memory, {what}", held, "MiB"),
    ]


@contextlib.contextmanager
def _open(path: Path, targets: list[str]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for target in targets:
            connection = stack.enter_context(contextlib.closing(_Connection(path)))
            method, path_of = target.split()
            connection.request(method, path_of)
            assert connection.getresponse().status == 200
        yield


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _row(name: str, samples: list[float], limit: float | None, against: str) -> Row:
    return Row(name, median(samples), "s", limit, against, tuple(samples))
