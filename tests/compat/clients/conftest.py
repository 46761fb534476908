"""hyperd and Debian's newest dockerd with the same images, and Docker's real clients in front of each.

What a test asks of `daemon` runs against hyperd; in `make soak` also against dockerd, which proves the test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import docker as docker_py
import pytest

import dockerd
import real_images
from docker_clients import Clients
from docker_sdk import clear, load, sdk_of
from hyper import NO_POOL
from hyper import hyper as hyper_context
from soak import rounds
from uml_kernel import has_uml

KINDS = ("hyperd", "dockerd")
# The machine may have networks of CNI's, which nobody removes by an API.
CONFIG = f'{NO_POOL}[network]\ncni_conf_dir = "/nonexistent"\n'
BUILDS = '[build]\nimage = "localhost/builder"\nmemory = "1g"\n'


@contextlib.contextmanager
def served_by(kind: str) -> Iterator[tuple[Path, Sequence[str]]]:
    """A daemon's socket, and what leads a command to its published ports; "builder": of a hyperd that has what it
    builds with; "qemu": of one whose VMs are QEMU's."""
    if kind == "dockerd":
        try:
            with dockerd.dockerd(newest=True) as made:
                beside = ("nsenter", "--target", str(made.first), "--net", "--")
                yield Path(made.client[2].removeprefix("unix://")), beside
        except dockerd.Absent as absent:
            pytest.skip(str(absent))
    else:
        config = CONFIG + BUILDS if kind == "builder" else CONFIG
        with hyper_context(config, hypervisor="uml" if has_uml() and kind != "qemu" else "qemu") as hyper:
            hyper("info")
            if kind == "builder":
                hyper.load(real_images.path("builder"))
            yield hyper.run_dir / "docker.sock", ()


@pytest.fixture(scope="session")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Clients]]:
    """By kind, each started when it is first asked for."""
    started: dict[str, Clients] = {}
    with contextlib.ExitStack() as stack:

        def get(kind: str) -> Clients:
            if kind not in started:
                socket, beside = stack.enter_context(served_by(kind))
                started[kind] = Clients(socket, tmp_path_factory.mktemp(kind), beside=beside)
                with sdk_of(started[kind]) as sdk:
                    load(sdk)
            return started[kind]

        yield get


@pytest.fixture(params=KINDS[: rounds(short=1, soak=2)])
def daemon(request: pytest.FixtureRequest, daemons: Callable[[str], Clients]) -> Iterator[Clients]:
    """With busybox:latest and nothing else, as it is again afterwards."""
    made = daemons(request.param)
    yield made
    clear(made)


@pytest.fixture
def sdk(daemon: Clients) -> Iterator[docker_py.DockerClient]:
    with sdk_of(daemon) as made:
        yield made
