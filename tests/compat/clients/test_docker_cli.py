"""docker 28.5's command line to dockerd and to hyperd: what is printed, and the status; see cli.txt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import docker_help
from docker_clients import Clients
from docker_sdk import clear
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
# What cli.txt has no line for, and why.
ELSEWHERE = {
    **dict.fromkeys(
        ("builder", "buildx", "bake", "build", "image build"), "builds: tests/vm/test_docker_build.py"
    ),
    "compose": "a program of its own: test_compose.py",
    "context": "files of the client's own: test_tls.py has one",
    "manifest": "asks registries itself",
    "trust": "asks registries itself, and signs",
    "help": "asks nobody",
}
UNTRIED = {"help"}  # of every command
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
    for pattern, word in VARIES:
        text = pattern.sub(word, text)
    lines = [each.rstrip() for each in text.splitlines()]
    if {"diff", "prune"} & {*words[:2]}:  # dockerd's order there is any
        lines.sort()
    return Outcome(done.returncode, "\n".join(lines))


def test_every_command_is_tried_with_every_option(tmp_path: Path) -> None:
    """As the command line itself tells of them."""
    known = docker_help.commands(Clients(tmp_path / "no-daemon", tmp_path), ELSEWHERE)
    tried: dict[str, set[str]] = {command.name: set() for command in known.values()}
    for line in (line for story in STORIES.values() for line in story):
        words = shlex.split(line.words)
        path = next((path for n in (3, 2, 1) if (path := tuple(words[:n])) in known), None)
        if path is not None:
            tried[known[path].name] |= {"", *known[path].used(words[len(path) :])}
    wanted = {command.name: {"", *command.options} - UNTRIED for command in known.values()}
    missing = {name: sorted(left) for name in wanted if (left := wanted[name] - tried[name])}
    assert not missing


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
        clear(clients)
    assert not odd, "\n".join(odd)
