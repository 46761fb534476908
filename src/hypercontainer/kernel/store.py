"""Finds the kernels in the cache, and takes in others.

    CACHE/kernel/HASH/           an own kernel; HASH covers everything that went into it
    CACHE/kernel/current         symbolic link to the own kernel that was asked for last
    CACHE/kernel/current-wide    the same of those with more devices than virtio's
    CACHE/kernel/debian-VERSION/ a packaged kernel
    CACHE/kernel-ARCHITECTURE/   the same for another architecture
    CACHE/uml/...                the same of User Mode Linux
    _guest/uml/                  in this package, where it is a wheel's: a User Mode Linux

A directory without a complete ``kernel.json`` is not a kernel.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from pathlib import Path

from hypercontainer.contract.devices import UML, VIRTIO
from hypercontainer.errors import NotFound, Remedy, Unavailable
from hypercontainer.kernel import debian, image, paths, record
from hypercontainer.kernel.model import Kernel
from hypercontainer.kernel.targets import TARGETS, folder
from hypercontainer.linux import executable
from hypercontainer.linux.architectures import AMD64

# The one that an own kernel is taken by, before others.
CURRENT = ("current", "current-wide")


class KernelStore:
    """The kernels under ``cache`` (see ``cache_dir``); reads the disk at each call, holds nothing."""

    def __init__(self, cache: Path, packaged: Path | None = None) -> None:
        self._programs = cache / "uml"
        self._packaged = packaged or paths.packaged_program()
        self._cache = cache

    def list(self) -> list[Kernel]:
        """Of machines, then programs, then other architectures' machines; of each the own ones, the current one first,
        then the distribution's, the newest first, and the program that came with this package last."""
        foreign = (kernel for each in TARGETS if each != AMD64 for kernel in self._found(each))
        return [*self._found(AMD64), *self._found_programs(), *foreign]

    def _found(self, architecture: str) -> builtins.list[Kernel]:
        return _found(folder(self._cache, architecture))

    def default(self, architecture: str = AMD64) -> Kernel:
        """Of machines: the project's own kernel where it was built, else the distribution's; raises Unavailable."""
        if found := self._found(architecture):
            return found[0]
        place = folder(self._cache, architecture)
        if architecture == AMD64:
            raise Unavailable(
                f"no guest kernel in {place}",
                hint="build one with `make kernel`, or fetch Debian's",
                remedies=[Remedy("kernels.fetch")],
            )
        raise Unavailable(
            f"no guest kernel for {architecture} in {place}",
            hint=f"fetch Debian's for {architecture}",
            remedies=[Remedy("kernels.fetch", options={"platform": f"linux/{architecture}"})],
        )

    def having(self, devices: str, architecture: str = AMD64) -> Kernel:
        """The usual one of those that have drivers for this family of devices; raises Unavailable."""
        if devices == UML:
            return self.program()
        found = [kernel for kernel in self._found(architecture) if kernel.has(devices)]
        if found or devices == VIRTIO:
            return found[0] if found else self.default(architecture)
        raise Unavailable(
            f"no guest kernel in {folder(self._cache, architecture)} has drivers for {devices}",
            hint="build one with `make kernel FLAVOUR=wide`",
        )

    def program(self) -> Kernel:
        """The User Mode Linux, one that was built here before the package's; raises Unavailable."""
        kernels = self._found_programs()
        if not kernels:
            raise Unavailable(
                f"no User Mode Linux in {self._programs}",
                hint="build it with `make kernel FLAVOUR=um`, or install Hyper from its wheel, which has one",
            )
        executable.mended(kernels[0].path)
        return kernels[0]

    def _found_programs(self) -> tuple[Kernel, ...]:
        built = (
            kernel for kernel in _found(self._programs) if kernel.program
        )  # an older one's record does not say
        packaged = record.load(self._packaged)
        return (*built, *((packaged,) if packaged else ()))

    def find(self, wish: str) -> Kernel:
        """A path, which has a slash in it, or the name or version of one of ours."""
        if "/" in wish:
            return self.user(Path(wish))
        for kernel in self.list():
            if wish in (kernel.name, kernel.version):
                return kernel
        raise NotFound(
            f"no kernel called {wish}",
            hint="a path has a slash in it",
            remedies=(Remedy("system.kernels", aim="lists them"),),
        )

    def user(self, path: Path) -> Kernel:
        """The user's own file, with everything built in; raises NotFound or InvalidArgument."""
        found = image.inspect(path)
        digest = image.digest([path])
        return Kernel(
            path.absolute(), found.version, "user", (), found.pvh, digest, found.program, found.architecture
        )

    def fetch_debian(self, progress: Callable[[str], None], architecture: str = AMD64) -> Kernel:
        """Debian's packaged kernel, from the cache or by apt (30 MB, of other architectures up to 110); ``progress``
        takes lines to show."""
        kernel = record.load(debian.fetch(self._cache, progress, architecture))
        if kernel is None:
            raise Unavailable(
                f"the kernel fetched to {folder(self._cache, architecture)} is damaged",
                hint="remove it and fetch again",
            )
        return kernel


def _found(directory: Path) -> list[Kernel]:
    own: list[tuple[int, float, Kernel]] = []
    packaged: list[tuple[int, float, Kernel]] = []
    links = (directory / name for name in reversed(CURRENT))
    current = [directory / link.readlink() for link in links if link.is_symlink()]
    for place in _directories(directory):
        if kernel := record.load(place):
            rank = current.index(place) if place in current else -1
            row = (rank, kernel.path.stat().st_mtime, kernel)
            (own if kernel.source == "own" else packaged).append(row)
    return [
        kernel
        for rows in (own, packaged)
        for _, _, kernel in sorted(rows, key=lambda row: row[:2], reverse=True)
    ]


def _directories(parent: Path) -> Iterator[Path]:
    """Those that may hold a kernel: no link, and none that a fetch or a build is still writing."""
    if parent.is_dir():
        yield from (path for path in parent.iterdir() if not path.is_symlink() and path.name[0] != ".")
