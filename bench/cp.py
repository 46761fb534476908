"""`cp` of a tree, both ways, beside `docker cp` of the same, with a container that runs."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import busybox_image
import dockerd
from bench.containers import BUSYBOX, native
from bench.measure import Row, figures_in_turns, median, seconds, spread

FILES, BYTES, FOLDERS = 20_000, 1 << 30, 100
RATIO = 1.5
IN, OUT = "in", "out"


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-bench-")))
        grow(folder / "tree", FILES, BYTES)
        ways: dict[str, Callable[[], float]] = {}
        clients: dict[str, Any] = {"User Mode Linux": stack.enter_context(native())}
        options: tuple[str, ...] = ("-m", "1g")
        try:
            docker = stack.enter_context(dockerd.dockerd())
            docker("load", stdin=busybox_image.archive([busybox_image.layer()]))
            clients["docker"] = docker
        except dockerd.Absent:
            pass
        for where, client in clients.items():
            more = options if where != "docker" else (*docker.options,)
            client("run", "-d", "--name", "box", *more, BUSYBOX, "sleep", "100000")
            if where != "docker":
                stack.callback(client, "rm", "-f", "box")
            ways[f"{where} {IN}"] = partial(_into, client, folder)
            ways[f"{where} {OUT}"] = partial(_out_of, client, folder)
        taken = figures_in_turns(rounds, ways)
    rows = []
    for way in (IN, OUT):
        own, theirs = taken[f"User Mode Linux {way}"], taken.get(f"docker {way}")
        limit = None if theirs is None else RATIO * median(theirs)
        against = (
            "no docker"
            if theirs is None
            else f"{median(own) / median(theirs):.2f} x docker cp ({spread(theirs)})"
        )
        name = f"cp of 1 GiB in {FILES} files {way}, User Mode Linux"
        rows.append(Row(name, median(own), "s", limit, f"{against}; {spread(own)}", tuple(own)))
    return rows


def grow(tree: Path, files: int, total_bytes: int) -> None:
    data = random.Random(1).randbytes(total_bytes // files)
    for number in range(files):
        folder = tree / str(number % FOLDERS)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(number.to_bytes(8, "big") + data[8:])


# Each turn has a place of its own and removes nothing: where thousands of inodes were deleted within the last seconds,
# ext4 looks at each of them before it makes a file, and that is what would be measured.
_turns = itertools.count()


def _into(client: Any, folder: Path) -> float:
    place = f"/in-{next(_turns)}"
    took_s = seconds(lambda: _done(client("cp", str(folder / "tree"), f"box:{place}")))
    _done(client("exec", "box", "sh", "-c", f"ln -sfn {place} /in"))
    return took_s


def _out_of(client: Any, folder: Path) -> float:
    place = folder / f"out-{next(_turns)}"
    took_s = seconds(lambda: _done(client("cp", "box:/in/.", str(place))))
    found = sum(1 for path in place.rglob("*") if path.is_file())
    assert found == FILES, f"{found} files came out"
    return took_s


def _done(ended: Any) -> None:
    assert ended.returncode == 0, ended.stderr
