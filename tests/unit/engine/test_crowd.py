"""What a crowd took goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hypercontainer.engine.crowd import MANY, Crowd
from hypercontainer.linux import memory

# What stays lies above what goes, so that nothing is given back of itself.  Python's own allocator takes no more than
# 512 bytes at a time.
KEEPS = """
from hypercontainer.linux.memory import give_back

def resident_kib():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

gone = [bytes(4096) for _ in range(10_000)]
stays = bytes(4096)
gone.append(gone)  # a cycle
del gone
before = resident_kib()
give_back()
print(before - resident_kib())
"""


# malloc_stats(3) counts heaps on the standard error.
THREADS = """
import ctypes, sys, threading
from hypercontainer.linux.memory import one_heap

if sys.argv[1:]:
    one_heap()
both = threading.Barrier(4)

def work():
    both.wait()
    bytes(10_000)
    both.wait()

threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.parametrize("words", [(), ("one",)])
def test_all_threads_have_one_heap(words: tuple[str, ...]) -> None:
    run = subprocess.run([sys.executable, "-c", THREADS, *words], check=True, capture_output=True, text=True)
    assert (run.stderr.count("Arena ") == 1) is bool(words)


def test_what_is_free_goes_back_to_the_system() -> None:
    run = subprocess.run([sys.executable, "-c", KEEPS], check=True, capture_output=True, text=True)
    assert int(run.stdout) > 30_000


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each time."""
    found: list[int] = []
    monkeypatch.setattr(memory, "give_back", lambda: found.append(1))
    return found


def left(made: Crowd, before: int, after: int) -> None:
    for remain in range(before - 1, after - 1, -1):
        made.left(remain)


def test_a_few_that_come_and_go_cost_nothing(given: list[int]) -> None:
    made = Crowd()
    for _ in range(10 * MANY):
        left(made, MANY - 1, 0)
    assert not given


def test_a_crowd_is_followed_down(given: list[int]) -> None:
    made = Crowd()
    left(made, 8 * MANY, 2 * MANY + 1)
    assert len(given) == 0
    left(made, 2 * MANY + 1, 2 * MANY)
    assert len(given) == 1
    left(made, 2 * MANY, 0)
    assert len(given) == 2
    left(made, MANY // 4, 0)
    assert len(given) == 2
    left(made, MANY, 0)
    assert len(given) == 3
