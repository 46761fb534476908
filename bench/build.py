"""`hyper build` of a Dockerfile of fifteen steps that installs Debian's packages, beside buildah on the host: all of it
anew, and again with all of it known."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import real_images
from bench.containers import UML, Measured, ready
from bench.measure import Row, figures_in_turns, median, run, seconds, spread

BASE, TAG = "localhost/debian:latest", "localhost/built:latest"
# Without anything else that they want, so that each is a step of its own in this order.
PACKAGES = "libpopt0 less bc time file libmagic1 libmagic-mgc ed tree psmisc netbase libnl-3-200".split()
STEPS = [
    "COPY *.deb /packages/",
    *(f"RUN dpkg --force-depends -i /packages/{name}_*.deb" for name in PACKAGES),
    "ENV BUILT=yes",
    "RUN rm -rf /packages && dpkg -l > /installed",
]
CONFIG = f'[factory]\ncache = 0\n{UML}[build]\nimage = "localhost/builder"\n'
CACHED_MORE_S = 2.0
TIMEOUT_S = 600


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-bench-")))
        context = _context(folder / "context")
        made = stack.enter_context(ready(Measured(CONFIG, making=False)))
        for name in ("debian", "builder"):
            made.load(real_images.path(name))
        stack.callback(made, "rm", "-f", "hyper-builder")
        ways = {"hyper": (made.argv("build", "-q", "-t", TAG), dict(made.environment))}
        if shutil.which("buildah"):
            ways["buildah"] = (stack.enter_context(_buildah(folder)), {})
        anew = figures_in_turns(rounds, {name: partial(_anew, *way, context) for name, way in ways.items()})
        known = figures_in_turns(rounds, {name: partial(_again, *way, context) for name, way in ways.items()})
    return [
        _row(f"build of {len(STEPS)} steps, all anew", anew),
        _row("the same, all known", known, more_s=CACHED_MORE_S),
    ]


def _row(name: str, taken: dict[str, list[float]], more_s: float | None = None) -> Row:
    own, theirs = taken["hyper"], taken.get("buildah")
    if not theirs:
        return Row(name, median(own), "s", None, f"no buildah; {spread(own)}", tuple(own))
    limit = None if more_s is None else median(theirs) + more_s
    against = f"buildah {median(theirs):.3f} s ({spread(theirs)}); {spread(own)}"
    return Row(name, median(own), "s", limit, against, tuple(own))


_numbers = itertools.count()


def _anew(argv: Sequence[str], environment: dict[str, str], context: Path) -> float:
    """The first step has another file each time."""
    (context / "number_0.deb").write_text(str(next(_numbers)))
    return _again(argv, environment, context)


def _again(argv: Sequence[str], environment: dict[str, str], context: Path) -> float:
    return seconds(lambda: run([*argv, str(context)], environment or None, TIMEOUT_S))


def _context(folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(
        ["apt-get", "download", "-qq", *PACKAGES], cwd=folder, check=True, stderr=subprocess.DEVNULL
    )
    (folder / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *STEPS, ""]))
    return folder


@contextlib.contextmanager
def _buildah(folder: Path) -> Iterator[list[str]]:
    """With a store of its own, and steps in a chroot, which is the least that it does."""
    store = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
    archive = f"docker-archive:{real_images.path('debian')}"
    identifier = run(["buildah", *store, "pull", "-q", archive]).split()[-1]
    run(["buildah", *store, "tag", identifier, BASE])
    try:
        yield ["buildah", *store, "bud", "-q", "--layers", "--isolation", "chroot", "--pull-never", "-t", TAG]
    finally:
        run(["buildah", *store, "rmi", "-a", "-f"])
