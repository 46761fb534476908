"""Where on the host the engine keeps what; the one place that knows the folders' names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypercontainer.engine import files
from hypercontainer.semantics.nfs import words
from hypercontainer.volume import shared


@dataclass(frozen=True)
class Places:
    """``root`` outlives a boot of the host, ``run`` does not."""

    root: Path
    run: Path

    def make(self) -> None:
        for folder in ("containers", "pods", "images", "layers", "cache"):
            files.make_private(self.root / folder)
        files.make_private(self.sockets)

    def container(self, identifier: str) -> Path:
        return self.root / "containers" / identifier

    def log(self, container: str) -> Path:
        return self.container(container) / "log"

    def pod(self, identifier: str) -> Path:
        return self.root / "pods" / identifier

    @property
    def volumes(self) -> Path:
        return self.root / "volumes"

    def volume_source(self, name: str) -> str:
        """Its disk's file, or its directory; or that of its server."""
        share = shared.read(self.volumes / name)
        return words(share) if share else str(shared.content(self.volumes / name))

    @property
    def sockets(self) -> Path:
        """With a folder for each VM that runs."""
        return self.run / "pods"

    def vm(self, pod: str) -> Path:
        return self.sockets / pod[:12]

    @property
    def lazy(self) -> Path:
        """With a folder for each image that is used while its layers come."""
        return self.run / "lazy"

    @property
    def trees(self) -> Path:
        """Their disks' metadata, which may be more than memory should hold."""
        return self.root / "trees"

    @property
    def networks(self) -> Path:
        return self.run / "networks"

    @property
    def way_out(self) -> Path:
        """Of the networks, where a process carries it."""
        return self.run / "way-out"

    @property
    def facts(self) -> Path:
        """What was found out about this host."""
        return self.cache / "hypervisor.json"

    @property
    def hypervisors(self) -> Path:
        """What drivers keep themselves, each in a folder of its own."""
        return self.root / "hypervisors"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def aside(self) -> Path:
        """What no record names, and records that cannot be read (``aside.Aside``)."""
        return self.root / "set-aside"

    @property
    def own(self) -> tuple[Path, ...]:
        """What no guest is given a share of."""
        return (self.root, self.run)
