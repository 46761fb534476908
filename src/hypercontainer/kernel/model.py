"""The kernel a guest is started with, as the other parts see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypercontainer.contract.devices import VIRTIO
from hypercontainer.linux.architectures import AMD64


@dataclass(frozen=True)
class Kernel:
    """A kernel image and the modules its guest loads first.

    ``version`` is what ``uname -r`` prints, '' where a user's file does not tell.  ``source`` is "own" (built
    by ``make kernel``), "debian" (the distribution's package) or "user".  ``modules`` are in load order.
    ``devices``: families (``contract.devices``) for which it has drivers in it; a user's file is tried.
    ``pvh``: ``path`` is an uncompressed ELF file, entered by PVH, else an image for its ``architecture``'s boot
    loaders; or ``program``: User Mode Linux, which is run.  ``digest`` ("sha256:" and hex) changes with any byte of
    the image or a module.  ``bzimage``: the same kernel for boot loaders, where there is one.
    """

    path: Path
    version: str
    source: str
    modules: tuple[Path, ...]
    pvh: bool
    digest: str
    program: bool = False
    architecture: str = AMD64
    devices: frozenset[str] = frozenset({VIRTIO})
    bzimage: Path | None = None

    def has(self, devices: str) -> bool:
        return self.source == "user" or devices in self.devices

    @property
    def name(self) -> str:
        """By which it is asked for."""
        return f"{self.source}-{self.version}" + ("-wide" if self.bzimage else "")
