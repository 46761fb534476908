"""`commit` of what a container has written, beside `docker commit` of the same."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import busybox_image
import dockerd
from bench import cp
from bench.containers import BUSYBOX, native
from bench.measure import Row, figures_in_turns, median, seconds, spread

FILES, BYTES = 20_000, 500 << 20
RATIO = 1.5
UML, DOCKER = "User Mode Linux", "docker"


def measure(rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-bench-")))
        cp.grow(folder / "tree", FILES, BYTES)
        clients: dict[str, Any] = {UML: stack.enter_context(native())}
        with contextlib.suppress(dockerd.Absent):
            docker = clients[DOCKER] = stack.enter_context(dockerd.dockerd())
            docker("load", stdin=busybox_image.archive([busybox_image.layer()]))
        ways: dict[str, Callable[[], float]] = {}
        for where, client in clients.items():
            options = client.options if where == DOCKER else ("-m", "1g")
            client("run", "-d", "--name", "box", *options, BUSYBOX, "sleep", "100000")
            if where == UML:
                stack.callback(client, "rm", "-f", "box")
            _done(client("cp", str(folder / "tree"), "box:/in"))
            ways[where] = partial(_commit, client, itertools.count())
        taken = figures_in_turns(rounds, ways)
    own, theirs = taken[UML], taken.get(DOCKER)
    against = (
        f"{median(own) / median(theirs):.2f} x docker commit ({spread(theirs)})" if theirs else "no docker"
    )
    limit = RATIO * median(theirs) if theirs else None
    name = f"commit of 500 MB in {FILES} files, {UML}"
    return [Row(name, median(own), "s", limit, f"{against}; {spread(own)}", tuple(own))]


def _commit(client: Any, numbers: Iterator[int]) -> float:
    """Something is another each time, or Docker and Hyper would know the layer already."""
    number = next(numbers)
    _done(client("exec", "box", "sh", "-c", f"echo {number} > /number"))
    took_s = seconds(lambda: _done(client("commit", "box", f"localhost/committed:{number}")))
    _done(client("rmi", f"localhost/committed:{number}"))
    return took_s


def _done(ended: Any) -> None:
    assert ended.returncode == 0, ended.stderr
