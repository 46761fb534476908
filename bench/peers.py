"""Docker and podman as they come, measured beside Hyper where they are installed.

Each lives in namespaces of its own (`dockerd.py`).  Inside them they do what they do by themselves: `docker run` is
dockerd and its runtime on docker0, `podman run` its runtime on podman's default bridge.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import busybox_image
import dockerd
from bench.measure import run

CONTAINER = "hyper-bench"


@dataclass(frozen=True)
class Peer:
    """``label`` says what it consists of; ``client`` is the command without its verb."""

    name: str
    label: str
    client: Sequence[str]
    options: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)

    def __call__(self, *words: str) -> str:
        return run([*self.client, *words], self.environment).strip()

    def run_true(self) -> None:
        self("run", *self.options, "--rm", busybox_image.REFERENCE, "true")

    def exec_true(self) -> None:
        """In a container that runs since the peer was made."""
        self("exec", CONTAINER, "true")

    def prepare(self, archive: Path) -> None:
        self("load", "-i", str(archive))
        self.run_true()
        self("run", *self.options, "-d", "--name", CONTAINER, busybox_image.REFERENCE, "sleep", "1000000")


@dataclass(frozen=True)
class Absent:
    """A peer that this machine does not have, and why not."""

    name: str
    reason: str


@contextlib.contextmanager
def peers() -> Iterator[dict[str, Peer | Absent]]:
    """By name: docker, podman.  None of them is a failure where it is not."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Peer | Absent] = {}
        for name, make in (("docker", docker), ("podman", podman)):
            try:
                found[name] = stack.enter_context(make())
            except dockerd.Absent as absent:
                found[name] = Absent(name, str(absent))
            except (AssertionError, OSError) as error:
                found[name] = Absent(name, f"does not run here: {str(error).strip().splitlines()[-1]}")
        yield found


@contextlib.contextmanager
def docker() -> Iterator[Peer]:
    with dockerd.dockerd() as found:
        peer = Peer("docker", "", found.client, found.options, found.environment)
        with _archive() as archive:
            peer.prepare(archive)
        facts = peer("info", "--format", "{{.ServerVersion}}, {{.DefaultRuntime}}, {{.Driver}}")
        yield replace(peer, label=f"dockerd {facts}, bridge")


@contextlib.contextmanager
def podman() -> Iterator[Peer]:
    with dockerd.podman() as found:
        peer = Peer("podman", "", found.client, found.options, found.environment)
        with _archive() as archive:
            peer.prepare(archive)
        facts = "{{.Version.Version}}, {{.Host.OCIRuntime.Name}}, {{.Store.GraphDriverName}}"
        facts = peer("info", "--format", facts)
        network = peer("inspect", "--format", "{{.HostConfig.NetworkMode}}", CONTAINER)
        yield replace(peer, label=f"podman {facts}, {network}")


@contextlib.contextmanager
def _archive() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(busybox_image.archive([busybox_image.layer()]))
        file.flush()
        yield Path(file.name)
