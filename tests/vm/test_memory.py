"""Memory that a clone's guest has freed goes back to the host, and its template stays as it is."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import busybox_image
from hyper import Hyper

pytestmark = pytest.mark.needs("templates")

BUSYBOX = busybox_image.REFERENCE
MIB = 1 << 20
TAKEN_MIB = 150
GIVEN_BACK_MIB = 100
WITHIN_S = 15.0
TOLERANCE_MIB = 10


@dataclass(frozen=True)
class Clone:
    hyper: Hyper
    pid: int

    def sh(self, script: str) -> str:
        return self.hyper.out("exec", "c", "sh", "-c", script)

    def gives_back(self, taken_mib: int) -> None:
        enough = taken_mib - GIVEN_BACK_MIB
        self.hyper.until(lambda: own_mib(self.pid) <= enough, "memory given back", deadline_s=WITHIN_S)


def own_mib(pid: int) -> int:
    """What a process has of memory that is nobody else's and is nowhere else (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024 // MIB
    raise AssertionError("no Private_Dirty")


@pytest.fixture
def clone(hyper: Hyper) -> Clone:
    """A container in a clone."""
    words = ("-m", "256m", "--tmpfs", "/big:size=200m", BUSYBOX)
    hyper.has_template(*words, "true")
    hyper("run", "-d", "--name", "c", *words, "sleep", "1000")
    return Clone(hyper, hyper.vm_pid("c"))


def test_files_that_are_removed(clone: Clone) -> None:
    before = own_mib(clone.pid)
    for _ in range(2):  # again in pages that were given back, and so hold what the template's did
        clone.sh(f"dd if=/dev/zero of=/big/file bs=1M count={TAKEN_MIB} 2>/dev/null")
        taken = own_mib(clone.pid)
        assert taken - before > TAKEN_MIB - TOLERANCE_MIB
        clone.sh("rm /big/file")
        clone.gives_back(taken)
    assert clone.hyper.kind("-m", "256m", BUSYBOX, "true") == "clone"


def test_a_program_that_ends(clone: Clone) -> None:
    """dd(1) keeps a block until somebody takes it, which nobody does before standard input ends."""
    before = own_mib(clone.pid)
    script = f"exec 3<&0; dd if=/dev/zero bs={TAKEN_MIB}M count=1 | head -c 1 <&3"
    with clone.hyper.popen("exec", "-i", "c", "sh", "-c", script, stdin=subprocess.PIPE):
        enough = before + TAKEN_MIB - TOLERANCE_MIB
        clone.hyper.until(lambda: own_mib(clone.pid) > enough, "memory taken")
        taken = own_mib(clone.pid)
    clone.gives_back(taken)
