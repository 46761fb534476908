"""What people do in containers: compute, compile, install, test, serve; on User Mode Linux, emulation and docker."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import real_images
from bench.containers import booted, native
from bench.measure import Row, in_turns, median, run
from bench.peers import Absent, Peer, peers
from hyper import Hyper

# Beside a container of docker, whose programs are as fast as the host's.
COMPUTE_RATIO, WORK_RATIO = 1.1, 2.5
QEMU_RATIO = 1 / 1.5
FILES, TESTS = 20, 500
NETWORK_BYTES = 256 << 20
CHUNK = bytes(1 << 20)
REPLY_TIMEOUT_S = 120.0

# Twenty files of C with twenty functions each, a test module, and 64 MiB that can be made three quarters as long.
PREPARE = rf"""
import base64, pathlib, random
work = pathlib.Path("/work"); work.mkdir()
body = "int f{{0}}_{{1}}(int n) {{{{ int s = 0; for (int i = 0; i < n; i++) s += i * {{1}} % (n | 1); return s; }}}}\n"
for file in range({FILES}):
    text = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    (work / f"part{{file}}.c").write_text(text + "".join(body.format(file, part) for part in range(20)))
(work / "main.c").write_text("int main(void) {{ return 0; }}\n")
names = " ".join(["main.o", *(f"part{{n}}.o" for n in range({FILES}))])
(work / "Makefile").write_text(f"CFLAGS = -O2\nprogram: {{names}}\n\tcc -o $@ $^\n")
(work / "test_it.py").write_text(
    "import pytest\n@pytest.mark.parametrize('n', range({TESTS}))\ndef test_it(n): assert sorted([n, 1])[-1] >= n\n"
)
(work / "file").write_bytes(base64.b64encode(random.Random(1).randbytes(48 << 20)))
"""
LOOP = "s = 0\nfor i in range(3_000_000): s += i * i % 7"
MATRIX = """
n = 160
a = [[float(i * j % 7) for j in range(n)] for i in range(n)]
b = list(zip(*a))
c = [[sum(x * y for x, y in zip(row, column)) for column in b] for row in a]
"""
COMPUTE = {
    "a Python loop of 3 million rounds": f"python3 -c '{LOOP}'",
    "a matrix of 160 x 160 by itself, in Python": f"python3 -c '{MATRIX}'",
    "sha256sum of a file of 64 MiB": "sha256sum /work/file",
    "gzip -1 of it": "gzip -1 -c /work/file >/dev/null",
}
WORK = {
    f"gcc -O2 of {FILES} files, by make": "make -s -B -C /work",
    "pip install of Debian's wheels": (
        "rm -rf /tmp/t; pip install -q --no-index --no-deps --target /tmp/t /usr/share/python-wheels/*.whl"
    ),
    f"pytest of {TESTS} tests": "python3 -m pytest -q -p no:cacheprovider /work/test_it.py",
}
FIO = "fio --name=it --filename=/data/file --size=64M --rw=randrw --bs=4k --ioengine=psync --direct=1 --fsync=64"
SERVE = f"""
import socket
server = socket.create_server(("", 5001))
print("ready", flush=True)
while True:
    peer, _ = server.accept()
    with peer:
        left = {NETWORK_BYTES}
        while left:
            left -= len(peer.recv(min(left, 1 << 20)))
        peer.sendall(b"k")
"""
# By image: what is measured, how, and what goes before it.
SERVERS = {
    "redis": (
        "redis-benchmark: 2 x 5,000, 10 clients",
        "redis-benchmark -q -t set,get -n 5000 -c 10",
        "until redis-cli ping; do :; done",
    ),
    "postgres": (
        "pgbench: TPC-B, scale 10, 4 clients, 400 transactions",
        "/usr/lib/postgresql/15/bin/pgbench -n -c 4 -t 100 postgres",
        "until pg_isready -q; do :; done; /usr/lib/postgresql/15/bin/pgbench -q -i -s 10 postgres",
    ),
}


@dataclass(frozen=True)
class Place:
    """Where an image's programs run: ``client`` is the command without its verb, ``options`` are for its ``run``."""

    name: str
    client: Sequence[str]
    environment: dict[str, str]
    options: Sequence[str] = ()

    def __call__(self, *words: str) -> None:
        run([*self.client, *words], self.environment, timeout_s=600)

    def start(self, name: str, *options: str, image: str, program: Sequence[str] = ()) -> None:
        self("run", *self.options, "-d", "--name", name, *options, f"localhost/{image}:latest", *program)

    def sh(self, name: str, script: str) -> None:
        self("exec", name, "sh", "-ec", script)


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        guests = [_of("uml", stack.enter_context(native())), _of("qemu", stack.enter_context(booted()))]
        docker = stack.enter_context(peers())["docker"]
        places = list(guests)
        if isinstance(docker, Peer):
            places.append(Place("docker", docker.client, dict(docker.environment), docker.options))
        for image in ("workshop", "python", *SERVERS):
            for place in places if image == "workshop" else guests:
                place("load", "-q", "-i", str(real_images.path(image)))
        rows = _jobs(places, docker, rounds) + _input_and_output(guests, rounds)
        for image in SERVERS:
            rows += _server(guests, image, rounds)
        return rows + _network(guests, rounds)


def _of(name: str, made: Hyper) -> Place:
    return Place(name, made.argv(), dict(made.environment))


def _jobs(places: Sequence[Place], docker: Peer | Absent, rounds: int) -> list[Row]:
    rows = []
    with _running(places, "workshop"):
        for place in places:
            place("exec", "it", "python3", "-c", PREPARE)
        jobs = [(COMPUTE_RATIO, *job) for job in COMPUTE.items()] + [
            (WORK_RATIO, *job) for job in WORK.items()
        ]
        for ratio, name, script in jobs:
            taken = in_turns(rounds, **{place.name: partial(place.sh, "it", script) for place in places})
            beside = f"QEMU's emulation {median(taken['qemu']):.3f} s"
            limit = None
            if isinstance(docker, Peer):
                limit = ratio * median(taken["docker"])
                beside = f"{ratio} x docker's {median(taken['docker']):.3f} s ({docker.label}); {beside}"
            rows.append(Row(f"{name}, User Mode Linux", median(taken["uml"]), "s", limit, beside))
    return rows


def _input_and_output(guests: Sequence[Place], rounds: int) -> list[Row]:
    with _running(guests, "workshop", "-v", "data:/data"):
        return _beside_qemu(
            "fio: 64 MiB of random 4 KiB in a volume", guests, 1, rounds, lambda place: place.sh("it", FIO)
        )


def _server(guests: Sequence[Place], image: str, rounds: int) -> list[Row]:
    name, script, prepare = SERVERS[image]
    with _running(guests, image, program=()):
        for place in guests:
            place.sh("it", prepare)
        return _beside_qemu(name, guests, QEMU_RATIO, rounds, lambda place: place.sh("it", script))


def _network(guests: Sequence[Place], rounds: int) -> list[Row]:
    ports = {place.name: _free_port() for place in guests}
    with contextlib.ExitStack() as stack:
        for place in guests:
            publish = ("-p", f"127.0.0.1:{ports[place.name]}:5001")
            stack.enter_context(_running([place], "python", *publish, program=("python3", "-c", SERVE)))
            place.sh(
                "it", "until grep -q ':1389 ' /proc/net/tcp; do :; done"
            )  # 5001, as the kernel writes it
        name = f"{NETWORK_BYTES >> 20} MiB from the host through a published port"
        return _beside_qemu(name, guests, 1, rounds, lambda place: _send(ports[place.name]))


def _send(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=REPLY_TIMEOUT_S) as peer:
        for _ in range(NETWORK_BYTES // len(CHUNK)):
            peer.sendall(CHUNK)
        assert peer.recv(1) == b"k"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _beside_qemu(
    name: str, guests: Sequence[Place], ratio: float, rounds: int, action: Callable[[Place], object]
) -> list[Row]:
    taken = in_turns(rounds, **{place.name: partial(action, place) for place in guests})
    own, emulated = median(taken["uml"]), median(taken["qemu"])
    return [
        Row(
            f"{name}, User Mode Linux",
            own,
            "s",
            ratio * emulated,
            f"{ratio:.2f} x QEMU's emulation ({emulated:.3f} s)",
        )
    ]


@contextlib.contextmanager
def _running(
    places: Sequence[Place], image: str, *options: str, program: Sequence[str] = ("sleep", "1000000")
) -> Iterator[None]:
    for place in places:
        place.start("it", *options, image=image, program=program)
    yield
    for place in places:
        place("rm", "-f", "it")
