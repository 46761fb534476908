"""Debian's packages of another architecture: asked for with a list of sources and a state of our own.

The machine's own apt knows its own architecture, and is not to learn of others.  Mirror and keys are the machine's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hypercontainer.errors import Unavailable

TIMEOUT_S = 600
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# After the machine's own suite, which may not have the architecture.
NEWER = ("trixie", "sid")


class Apt:
    """``options`` for every apt command; () is the machine's own."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self._options = options

    def update(self) -> None:
        self._get("update")

    def show(self, package: str) -> str:
        """What is known of the newest, "" for nothing."""
        return run(["apt-cache", *self._options, "show", "--no-all-versions", package], check=False)

    def names(self, pattern: str) -> list[str]:
        """Of the packages whose name matches, a regular expression."""
        found = run(["apt-cache", *self._options, "search", "--names-only", pattern], check=False)
        return [line.split(" - ")[0] for line in found.splitlines()]

    def download(self, package: str, into: Path) -> Path:
        self._get("download", package, cwd=into)
        [archive] = into.glob("*.deb")
        return archive

    def _get(self, *words: str, cwd: Path | None = None) -> None:
        sandbox = ("-o", "APT::Sandbox::User=root") if os.geteuid() == 0 else ()
        run(["apt-get", *sandbox, *self._options, "--quiet=2", *words], cwd=cwd)


def foreign(architecture: str, state: Path, unfit: Collection[str] = ()) -> Iterator[Apt]:
    """One for each suite that may have packages of ``architecture``, Debian's word, but those ``unfit``; its lists are
    fetched into the directory ``state``."""
    question = ("Created-By: Packages", "Label: Debian")
    targets = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", *question])
    known = [line.split() for line in targets.splitlines() if len(line.split()) == 2]
    if not known:
        raise Unavailable("the machine's own sources have no Debian mirror")
    mirror, codename = known[0]
    for suite in dict.fromkeys((codename, *NEWER)):
        if suite in unfit:
            continue
        yield _with_lists(architecture, mirror, suite, state / suite)


def _with_lists(architecture: str, mirror: str, suite: str, state: Path) -> Apt:
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    signed = f"signed-by={KEYRING} " if KEYRING.exists() else ""
    (state / "sources.list").write_text(f"deb [{signed}arch={architecture}] {mirror} {suite} main\n")
    (state / "status").touch()
    settings = {
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "Acquire::Languages": "none",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    apt = Apt(options)
    apt.update()
    return apt


def run(argv: Sequence[str], *, cwd: Path | None = None, check: bool = True) -> str:
    """Its output; raises Unavailable where it is not there, fails (unless not to ``check``), or takes too long."""
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except FileNotFoundError:
        raise Unavailable(
            f"{argv[0]} is missing: the packaged kernel can be fetched on Debian only",
            hint="`make kernel` builds one",
        ) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{' '.join(argv)}` did not end in {TIMEOUT_S} s") from None
    if check and done.returncode:
        raise Unavailable(f"`{' '.join(argv)}` failed (exit status {done.returncode}): {done.stderr.strip()}")
    return done.stdout
