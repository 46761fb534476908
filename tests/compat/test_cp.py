"""`cp` beside Docker's: what lies where afterwards, for all that source and target can be, both ways."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from pair import Pair
from soak import rounds

SOURCES = (
    *("file", "dir", "dir/", "dir/.", "empty", "absent", "file/"),
    *("to-file", "to-dir", "to-dir/", "to-dir/.", "dangling"),
)
TARGETS = (
    *("empty", "empty/", "empty/.", "file", "file/", "new", "new/", "new/.", "dir", "absent/new"),
    *("to-dir", "to-dir/", "to-file", "dangling"),
)
# In both: what is copied from, and to.
GROW = """
set -e
rm -rf {0}; mkdir -p {0}/dir/sub {0}/empty; cd {0}
echo {1} > file; echo {1} > dir/sub/deep; echo {1} > dir/only-{1}; chmod 4750 dir/sub/deep; chmod 700 dir/sub
ln -s file to-file; ln -s dir to-dir; ln -s nowhere dangling
"""
# Of each: type, mode, what is in it.
LIST = """
cd {0}; find . | sort | while read p; do
  if [ -L $p ]; then echo "$p -> $(readlink $p)"; continue; fi
  stat -c "$p %f" $p; [ -d $p ] || cat $p
done
"""
KNOWN = {
    ("out", "dir/.", "to-dir/"): "Docker's client trips over the link that it has followed",
    ("out", "to-dir/.", "to-dir/"): "the same",
}
# All with HYPER_SOAK; a choice of them takes a quarter of a minute.
CASES = list(itertools.product(SOURCES, TARGETS))
CHOSEN = 6


@pytest.fixture
def there(pair: Pair) -> Iterator[Pair]:
    pair.make("run", "-d", "--name", "box", busybox_image.REFERENCE, "sleep", "100000")
    yield pair


def shell(script: str) -> str:
    done = os.popen(f"PATH=/bin:/usr/bin sh -c '{script}'")
    return done.read()


def copied(pair: Pair, folder: Path, source: str, target: str, way: str) -> tuple[tuple[int, str, str], ...]:
    """Of Docker and of Hyper: the exit status, what is here, what is in the container."""
    found = []
    for number, each in enumerate(pair.each):
        here = folder / str(number)
        shutil.rmtree(here, ignore_errors=True)
        shell(GROW.format(here, "here"))
        assert each("exec", "box", "sh", "-c", GROW.format("/box", "box")).returncode == 0
        ends = {
            "in": (f"{here}/{source}", f"box:/box/{target}"),
            "out": (f"box:/box/{source}", f"{here}/{target}"),
        }
        check = {} if number == 0 else {"check": False}
        done = each("cp", *ends[way], **check)
        listed = each("exec", "box", "sh", "-c", LIST.format("/box")).stdout.decode()
        found.append((done.returncode, shell(LIST.format(here)), listed))
    return tuple(found)


def apart(theirs: tuple[int, str, str], ours: tuple[int, str, str]) -> str:
    """Docker's exit status and lines that Hyper has not, and Hyper's."""
    lines = [set("\n".join(each[1:]).splitlines()) for each in (theirs, ours)]
    return f"{theirs[0]} {sorted(lines[0] - lines[1])}, {ours[0]} {sorted(lines[1] - lines[0])}"


@pytest.mark.parametrize("way", ["in", "out"])
def test_what_lies_where(there: Pair, tmp_path: Path, way: str) -> None:
    differ = []
    cases = random.Random(way).sample(CASES, rounds(short=CHOSEN, soak=len(CASES)))
    for source, target in cases:
        theirs, ours = copied(there, tmp_path, source, target, way)
        if (theirs != ours) != ((way, source, target) in KNOWN):
            differ.append(f"{way} {source} {target}: {apart(theirs, ours)}")
    assert not differ, "\n".join(differ)
