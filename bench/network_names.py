"""Many pods on one network: each finds another by its name, and one asks as many questions as a busy network does."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import real_images
from bench.containers import sleep
from bench.measure import Row, median, percentile, run, seconds, spread
from bench.network_turnover import inside
from bench.processes import cpu_s
from hyper import Hyper
from hypercontainer.network.parts import RESOLVER

AT_ONCE = 4
PACED, PACED_S, TURNS = 2000, 2.0, 3  # questions a second
ANSWERED_MS, CORES = 5.0, 0.5
# Asks at a pace, with at most 32 questions on their way, each for a second; how long answers took, in milliseconds.
ASK = """
import json, select, socket, struct, sys, time
server, names, pace, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
def question(number):
    name = b"pod-%d" % (number % names)
    return struct.pack("!6H", number & 0xFFFF, 0x100, 1, 0, 0, 0) + bytes([len(name)]) + name + b"\\0\\0\\1\\0\\1"
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((server, 53))
clock, asked, took, lost, refused, wrong = time.perf_counter, {}, [], 0, 0, 0
count, number, began = int(pace * length), 0, clock()
while number < count or asked:
    now = clock()
    while asked and now - next(iter(asked.values())) > 1:
        del asked[next(iter(asked))]
        lost += 1
    while number < count and began + number / pace <= now and len(asked) < 32:
        asked[number & 0xFFFF] = clock()
        sock.send(question(number))
        number += 1
    wait = began + number / pace - clock() if number < count and len(asked) < 32 else 0.01
    if select.select([sock], [], [], max(0, wait))[0]:
        answer = sock.recv(512)
        sent = asked.pop(struct.unpack_from("!H", answer)[0], None)
        if sent is None:
            continue
        took.append((clock() - sent) * 1e3)
        refused += answer[3] & 15 == 5
        wrong += answer[3] & 15 not in (0, 5) or (answer[3] & 15 == 0 and answer[7] != 1)
print(json.dumps({"took": took, "lost": lost, "refused": refused, "wrong": wrong, "s": clock() - began}))
"""


@dataclass(frozen=True)
class Asked:
    """How long answers and all of it took, what it cost hyperd, and how many had no answer or a wrong one."""

    took_ms: Sequence[float]
    length_s: float
    cores: float
    amiss: Mapping[str, int]

    @property
    def pace(self) -> float:
        return len(self.took_ms) / self.length_s

    def within(self, percent: float) -> float:
        return percentile(self.took_ms, percent)


def measure(made: Hyper, count: int) -> list[Row]:
    names = [f"pod-{number}" for number in range(count)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started_s = seconds(lambda: list(pool.map(lambda name: sleep(made, "--name", name), names)))
        pairs = list(zip(names, names[1:] + names[:1], strict=True))
        silent = sum(pool.map(lambda pair: not meets(made, *pair), pairs))
    rows = [
        Row(
            f"of {count} pods on one network not reaching the next by its name",
            silent,
            "",
            0,
            f"started in {started_s:.1f} s, {AT_ONCE} at a time",
        ),
        *_paced(made, count),
    ]
    ended_s = seconds(partial(made, "rm", "-f", *names, timeout_s=600))
    rows.append(Row(f"rm -f of {count} pods", ended_s, "s"))
    return rows


def meets(made: Hyper, name: str, other: str) -> bool:
    try:
        run(made.argv("exec", name, "ping", "-c", "1", "-W", "3", other), made.environment)
    except AssertionError:
        return False
    return True


def _paced(made: Hyper, count: int) -> list[Row]:
    """From a guest and, turn by turn, from beside hyperd's socket, where the questions are nobody's pod's."""
    made.load(real_images.path("python"))
    made("run", "-d", "--name", "asker", "localhost/python:latest", "sleep", "1000000")
    words = ("python3", "-c", ASK, RESOLVER, str(count), str(PACED), str(PACED_S))
    guest, beside = [], []
    for _ in range(TURNS):
        guest.append(asked(made, made.argv("exec", "asker", *words)))
        beside.append(asked(made, [*inside(made), *words]))
    made("rm", "-f", "asker")
    return answered(guest, beside)


def asked(made: Hyper, argv: Sequence[str]) -> Asked:
    daemon = made.daemon_pid()
    before_s, began = cpu_s(daemon), time.monotonic()
    told = json.loads(run(argv, made.environment))
    cores = (cpu_s(daemon) - before_s) / (time.monotonic() - began)
    return Asked(told["took"], told["s"], cores, {how: told[how] for how in ("lost", "refused", "wrong")})


def answered(guest: Sequence[Asked], beside: Sequence[Asked]) -> list[Row]:
    """Medians of the turns; what is not answered well is counted in all of them."""
    pace, cores = median([each.pace for each in guest]), median([each.cores for each in guest])
    took = [each.within(99) for each in guest]
    others = f"half of them in {median([each.within(50) for each in guest]):.2f}"
    others += f"; beside hyperd's socket {median([each.within(99) for each in beside]):.2f}; {spread(took)}"
    amiss = {how: sum(each.amiss[how] for each in guest) for how in guest[0].amiss}
    return [
        Row(f"99 % of names answered, {pace:.0f} a second, in", median(took), "ms", ANSWERED_MS, others),
        Row(
            "of them not answered well",
            sum(amiss.values()),
            "",
            0,
            ", ".join(f"{of} {how}" for how, of in amiss.items()),
        ),
        Row("hyperd's processor meanwhile", cores, "cores", CORES, f"{cores / pace * 1e6:.0f} us each"),
    ]
