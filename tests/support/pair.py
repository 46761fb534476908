"""The same words to Docker and to Hyper, and what each makes of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dockerd import Docker
from hyper import Hyper

_ID = re.compile(r"\b[0-9a-f]{64}\b")
_SHORT_ID = re.compile(r"\b[0-9a-f]{12}\b")
Case = tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """``out`` without what is another one each time: IDs, and without blanks at lines' ends.  "" of what failed."""

    status: int
    out: str

    @classmethod
    def of(cls, status: int, out: bytes) -> Outcome:
        text = out.decode(errors="replace") if status == 0 else ""
        text = "\n".join(line.rstrip() for line in text.split("\n"))
        return cls(status, _SHORT_ID.sub("ID", _ID.sub("ID", text)))


class Pair:
    def __init__(self, docker: Docker, hyper: Hyper) -> None:
        self.docker = docker
        self.hyper = hyper

    @property
    def each(self) -> tuple[Callable[..., subprocess.CompletedProcess[bytes]], ...]:
        """Docker, Hyper."""
        return self.docker, self.hyper

    def __call__(self, *words: str, stdin: bytes = b"") -> tuple[Outcome, Outcome]:
        """Docker's and Hyper's."""
        theirs = self.docker(*words, stdin=stdin)
        ours = self.hyper(*words, stdin=stdin, check=False)
        return Outcome.of(theirs.returncode, theirs.stdout), Outcome.of(ours.returncode, ours.stdout)

    def make(self, *words: str) -> None:
        """Both do it, or the test is wrong."""
        theirs = self.docker(*words)
        assert theirs.returncode == 0, theirs.stderr.decode()
        self.hyper(*words)

    def documents(self, *words: str) -> tuple[Any, Any]:
        theirs = self.docker(*words)
        assert theirs.returncode == 0, theirs.stderr.decode()
        return json.loads(theirs.stdout)[0], self.hyper.json(*words)[0]

    def clear(self) -> None:
        for each in self.each:
            if found := each("ps", "-aq").stdout.decode().split():
                each("rm", "-f", *found)
            if found := each("volume", "ls", "-q").stdout.decode().split():
                each("volume", "rm", *found)

    def clear_images(self, kept: str) -> None:
        """All but the one with that name."""
        for each in self.each:
            (wanted,) = each("images", "-q", "--no-trunc", kept).stdout.decode().split()
            listed = (
                each("images", "-aq", "--no-trunc").stdout.decode().split()
            )  # the newest first, as Docker wants it
            if found := [one for one in dict.fromkeys(listed) if one != wanted]:
                each("rmi", "-f", *found)


def agree(pair: Pair, cases: list[Case], known: Mapping[Case, str]) -> None:
    """The two differ exactly where a reason is ``known``."""
    found = []
    for case in cases:
        theirs, ours = pair(*case)
        if (theirs != ours) != (case in known):
            found.append(f"{' '.join(case)!r}: docker {theirs}, hyper {ours}")
    if found:
        raise AssertionError("\n".join(found))
