#!/usr/bin/env python3
"""A package of one of Debian's newer suites, where the machine's own suite has none: fetched, and never installed.

usage: suites.py PATTERN [--suite SUITE]...

The newest package whose whole name matches PATTERN (as `apt-cache search` takes it) is fetched by apt, which checks
its signatures by the machine's own keyring, from the machine's own mirror, with a list of sources and a state that are
ours alone; what the suites have is asked once a day.  It is kept as $HYPER_CACHE/packages/NAME_VERSION.deb; where the
mirror is not to be had, the newest that was kept before is taken.  Printed are path, name, version and suite.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUITES = ("bookworm-backports", "trixie", "trixie-backports", "sid")
LISTS_S = 24 * 3600.0  # how long lists are good
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
KEPT = "kept"  # the suite of what was fetched before


class Missing(Exception):
    """No suite has such a package, or none can be asked."""


@dataclass(frozen=True)
class Package:
    path: Path
    name: str
    version: str
    suite: str


def cache_dir() -> Path:
    """As ``hypercontainer.kernel.cache_dir``."""
    if named := os.environ.get("HYPER_CACHE"):
        if not named.startswith("/"):
            raise Missing(f"HYPER_CACHE={named}: not an absolute path")
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hyper"


def output_of(*argv: str, cwd: Path | None = None) -> str:
    run = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env={**os.environ, "LC_ALL": "C"})
    if run.returncode:
        raise Missing(f"`{' '.join(argv[:1])}` failed: {run.stderr.strip()[-300:]}")
    return run.stdout


def newer(one: str, other: str) -> int:
    """Of versions, as `sorted` wants it of a comparison."""
    if one == other:
        return 0
    return 1 if subprocess.run(["dpkg", "--compare-versions", one, "gt", other]).returncode == 0 else -1


def newest(found: list[tuple[str, str, str]]) -> tuple[str, str, str]:
    """Of (name, version, suite)."""
    return max(found, key=lambda each: functools.cmp_to_key(newer)(each[1]))


@functools.cache
def mirror() -> str:
    """Of the machine's own sources."""
    uris = output_of(
        *("apt-get", "indextargets", "--format", "$(REPO_URI)"), "Created-By: Packages", "Label: Debian"
    ).split()
    if not uris:
        raise Missing("the machine's own sources have no Debian mirror")
    return uris[0]


class Apt:
    """apt with sources and state below ``directory``; ``kind``: deb, or deb-src for packages' sources;
    ``architecture``: Debian's word, "" for this machine's."""

    def __init__(
        self,
        directory: Path,
        suites: tuple[str, ...],
        kind: str = "deb",
        architecture: str = "",
        components: str = "main",
    ) -> None:
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (directory / "lists/partial").mkdir(parents=True, exist_ok=True)
        (directory / "archives/partial").mkdir(parents=True, exist_ok=True)
        sources = "".join(f"{kind} {signed}{mirror()} {suite} {components}\n" for suite in suites)
        (directory / "sources.list").write_text(sources)
        self._directory = directory
        self._updated, self._sources = directory / "updated", sources
        self._told = directory / "told.json"  # what these lists have told, which takes seconds each time
        self._options = [
            *(
                "-o",
                f"Dir::Etc::SourceList={directory / 'sources.list'}",
                "-o",
                "Dir::Etc::SourceParts=/dev/null",
            ),
            *("-o", f"Dir::State::Lists={directory / 'lists'}", "-o", f"Dir::Cache={directory}"),
            *("-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none"),
        ]
        if architecture:
            (directory / "status").touch()  # nothing is installed
            words = {"APT::Architecture": architecture, "APT::Architectures": architecture}
            words["Dir::State::Status"] = str(directory / "status")
            self._options += [word for key, value in words.items() for word in ("-o", f"{key}={value}")]

    def update(self, *, anew: bool) -> None:
        """Unless the lists are those of today; ``anew``: in any case."""
        if not anew and self._fresh():
            return
        output_of("apt-get", *self._options, "-qq", "update")
        self._told.unlink(missing_ok=True)
        self._updated.write_text(self._sources)

    def _fresh(self) -> bool:
        if not self._updated.exists() or self._updated.read_text() != self._sources:
            return False
        return time.time() - self._updated.stat().st_mtime < LISTS_S

    def offers(self, pattern: str) -> list[tuple[str, str, str]]:
        """(name, version, suite)."""
        told: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            told = json.loads(self._told.read_text())
        if pattern in told:
            return [(name, version, suite) for name, version, suite in told[pattern]]
        found = self._searched(pattern)
        written = self._told.with_suffix(f".{os.getpid()}")  # others may be at it
        written.write_text(json.dumps({**told, pattern: found}))
        written.rename(self._told)
        return found

    def _searched(self, pattern: str) -> list[tuple[str, str, str]]:
        search = output_of("apt-cache", *self._options, "search", "--names-only", f"^({pattern})$")
        if not (names := [line.split(" - ")[0] for line in search.splitlines()]):
            return []
        lines = output_of("apt-cache", *self._options, "madison", *names).splitlines()
        parts = [[part.strip() for part in line.split("|")] for line in lines]
        return [
            (name, version, source.split()[1].split("/")[0])
            for name, version, source in parts
            if source.endswith("Packages")
        ]

    def fetch(self, name: str, version: str, into: Path) -> Path:
        (deb,) = self.fetch_all([(name, version)], into)
        return deb

    def fetch_all(self, packages: Sequence[tuple[str, str]], into: Path) -> list[Path]:
        """Of (name, version), in no order."""
        wanted = [f"{name}={version}" for name, version in packages]
        output_of("apt-get", *self._options, "-qq", "download", *wanted, cwd=into)
        return [*into.glob("*.deb")]

    def needed(self, names: Sequence[str], installed: Mapping[str, str]) -> list[tuple[str, str]]:
        """(name, version) of all that these take which is not said to be ``installed``, in a version each."""
        status = self._directory / "installed"
        entry = (
            "Package: {}\nStatus: install ok installed\nVersion: {}\nArchitecture: {}\n"
            "Maintainer: x\nDescription: x\n\n"
        )
        architecture = output_of("dpkg", "--print-architecture").strip()
        status.write_text("".join(entry.format(*each, architecture) for each in installed.items()))
        asked = ["-s", "--no-install-recommends", "-o", f"Dir::State::Status={status}", "install", *names]
        lines = output_of("apt-get", *self._options, *asked).splitlines()
        return sorted(
            (line.split()[1], line.split("(")[1].split()[0]) for line in lines if line[:5] == "Inst "
        )

    def fetch_source(self, name: str, into: Path) -> Path:
        """The newest, unpacked and with Debian's patches, for which it wants dpkg-dev."""
        output_of("apt-get", *self._options, "-qq", "source", name, cwd=into)
        (unpacked,) = (path for path in into.iterdir() if path.is_dir())
        return unpacked


def kept_path(directory: Path, name: str, version: str) -> Path:
    return directory / f"{name}_{version.replace(':', '%3a')}.deb"


def kept(directory: Path, pattern: str) -> list[tuple[str, str, str]]:
    found = []
    for path in directory.glob("*_*.deb"):
        name, _, version = path.stem.partition("_")
        if re.fullmatch(pattern, name):
            found.append((name, version.replace("%3a", ":"), KEPT))
    return found


def fetch(pattern: str, suites: tuple[str, ...] = SUITES, architecture: str = "") -> Package:
    """The newest; raises Missing."""
    directory = cache_dir() / "packages" / architecture
    directory.mkdir(parents=True, exist_ok=True)
    try:
        apt = Apt(directory / "apt" / "+".join(suites), suites, architecture=architecture)
        try:
            return _fetched(apt, directory, pattern, anew=False)
        except Missing:  # of what the lists tell, which may be of yesterday
            return _fetched(apt, directory, pattern, anew=True)
    except (Missing, OSError) as error:
        if not (before := kept(directory, pattern)):
            raise Missing(str(error)) from error
    name, version, suite = newest(before)
    return Package(kept_path(directory, name, version), name, version, suite)


def fetch_source(name: str, version: str, suite: str) -> Path:
    """The source of Debian's package, unpacked; raises Missing.  Fetched once, and kept as long as ``version`` is asked
    for."""
    directory = cache_dir() / "packages/source"
    kept_at = directory / f"{name}_{version}"
    if not kept_at.exists():
        directory.mkdir(parents=True, exist_ok=True)
        apt = Apt(directory / "apt", (suite,), "deb-src")
        apt.update(anew=False)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as work:
            apt.fetch_source(f"{name}={version}", Path(work)).rename(kept_at)
    return kept_at


def _fetched(apt: Apt, directory: Path, pattern: str, *, anew: bool) -> Package:
    apt.update(anew=anew)
    if not (offered := apt.offers(pattern)):
        raise Missing("no package of that name in any of the suites")
    name, version, suite = newest(offered)
    path = kept_path(directory, name, version)
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as work:
            apt.fetch(name, version, Path(work)).rename(path)
    return Package(path, name, version, suite)


def main() -> int:
    parser = argparse.ArgumentParser(prog="suites.py", usage=__doc__)
    parser.add_argument("pattern")
    parser.add_argument("--suite", action="append")
    given = parser.parse_args()
    try:
        found = fetch(given.pattern, tuple(given.suite or SUITES))
    except Missing as error:
        sys.stderr.write(f"{given.pattern}: {error}\n")
        return 1
    print(found.path, found.name, found.version, found.suite)
    return 0


if __name__ == "__main__":
    sys.exit(main())
