"""docker 28.5's command line to dockerd and to hyperd: what is printed, and the status; see cli.txt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from docker_clients import Clients
from docker_sdk import clear, sdk_of
from soak import rounds

TABLE = Path(__file__).parent / "cli.txt"
# What is another one each time.
VARIES = (
    (re.compile(r"\b(sha256:)?[0-9a-f]{64}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "ID"),
    (
        re.compile(
            r"\b(less than a|about an?|\d+) (second|minute|hour|day|week|month|year)s?\b( ago)?",
            re.IGNORECASE,
        ),
        "TIME",
    ),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)"), "WHEN"),
    (re.compile(r"\b\d+(\.\d+)? ?[kMG]?B\b"), "SIZE"),
    (re.compile(r"127\.0\.0\.1:\d{5}"), "ADDRESS"),
    (re.compile(r" {2,}"), "  "),
)
# In `make test`; `make soak` has all.
QUICK = ("added processes",)


@dataclass(frozen=True)
class Line:
    words: str
    reason: str  # of a difference, "" where there is none


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str


def stories() -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for text in TABLE.read_text().splitlines():
        if text.startswith("## "):
            lines = found.setdefault(text[3:], [])
        elif text and not text.startswith("#"):
            words, _, reason = text.partition(" #! ")
            lines.append(Line(words.strip(), reason.strip()))
    return found


STORIES = stories()


def prepared(folder: Path) -> Path:
    """$T."""
    (folder / "dir").mkdir(parents=True)
    (folder / "dir/given").write_text("given\n")
    (folder / "env").write_text("D=from-file\n")
    (folder / "labels").write_text("from=file\n")
    return folder


def outcome(clients: Clients, line: Line, folder: Path) -> Outcome:
    words = [word.replace("$T", str(folder)) for word in shlex.split(line.words)]
    done = clients.docker(*words, check=False)
    text = done.stdout.decode(errors="replace").replace(str(folder), "$T") if done.returncode == 0 else ""
    lines = [each.rstrip() for each in text.splitlines()]
    text = "\n".join(sorted(lines) if words[0] == "diff" else lines)  # dockerd's order there is any
    for pattern, word in VARIES:
        text = pattern.sub(word, text)
    return Outcome(done.returncode, text)


@pytest.mark.parametrize("story", STORIES if rounds(short=0, soak=1) else QUICK)
def test_the_two_say_the_same(story: str, daemons: Callable[[str], Clients], tmp_path: Path) -> None:
    both = [daemons(kind) for kind in ("dockerd", "hyperd")]
    folders = [prepared(tmp_path / kind) for kind in ("dockerd", "hyperd")]
    odd = []
    with ThreadPoolExecutor(2) as pool:
        for line in STORIES[story]:
            theirs, ours = pool.map(outcome, both, [line, line], folders)
            if (theirs != ours) != bool(line.reason):
                odd.append(f"{line.words}\n    dockerd {theirs}\n    hyperd  {ours}")
    for clients in both:
        with sdk_of(clients) as sdk:
            clear(sdk)
    assert not odd, "\n".join(odd)
