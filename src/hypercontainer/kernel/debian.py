"""Takes a kernel out of Debian's package: downloaded and unpacked in a work directory, never installed.

Result, complete or absent: ``debian-VERSION/`` in the architecture's folder of ``CACHE``, with the kernel (``vmlinux``,
or ``vmlinuz`` where it cannot be unpacked), the modules a guest needs (decompressed, in the order of ``kernel.json``)
and ``kernel.json``.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.kernel import image, modules, payload, record
from hypercontainer.kernel.apt import Apt, foreign, run
from hypercontainer.kernel.targets import Target, folder, target
from hypercontainer.linux.architectures import AMD64, debians

_DEPENDS = re.compile(r"^Depends:.*?\b(linux-image-[0-9][\w.+-]*)", re.MULTILINE)
_VERSION = re.compile(r"^Version: *(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """A kernel's, and the apt that has it."""

    apt: Apt
    name: str
    version: str


def fetch(cache: Path, progress: Callable[[str], None], architecture: str = AMD64) -> Path:
    """Returns the kernel's directory; raises Unavailable where apt, the network or the disk fails."""
    wanted = target(architecture)
    kernels = folder(cache, architecture)
    try:
        kernels.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".debian-", dir=kernels) as work:
            missing: Unavailable | None = None
            for package in candidates(wanted, Path(work) / "apt"):
                directory = kernels / f"debian-{package.version.replace(':', '_')}"
                if (directory / record.FILE_NAME).exists():
                    return directory
                try:
                    archive = _download(package, Path(work), progress)
                except Unavailable as error:
                    missing = missing or error
                    continue
                _fetch(package, archive, wanted, Path(work), directory, progress)
                return directory
    except OSError as error:
        raise Unavailable(f"fetch a kernel to {kernels}: {error.strerror}") from error
    raise missing or Unavailable(
        f"apt knows none of {', '.join(wanted.packages)}",
        hint="run `apt-get update` on a Debian amd64 machine",
    )


def candidates(wanted: Target, state: Path) -> Iterator[Package]:
    """The real package behind each meta package that apt knows, the best first.  ``state`` is a new directory for
    apt's, where it is asked for another architecture than the machine's; then the older ones of the same suite come
    too, since a mirror may know of a package before it has it."""
    if wanted.architecture == AMD64:
        yield from _behind(Apt(), wanted)
        return
    for apt in foreign(debians(wanted.architecture), state, wanted.unfit):
        for package in _behind(apt, wanted):
            yield package
            yield from _older(package)


def _behind(apt: Apt, wanted: Target) -> Iterator[Package]:
    for meta in wanted.packages:
        shown = apt.show(meta)
        name, version = _DEPENDS.search(shown), _VERSION.search(shown)
        if name and version:
            yield Package(apt, name[1], version[1])


def _older(package: Package) -> Iterator[Package]:
    """Of the same flavour, the newest first."""
    flavour = package.name.rpartition("-")[2]
    names = set(package.apt.names(f"^linux-image-[0-9].*-{flavour}$")) - {package.name}
    for name in sorted(names, key=lambda each: [*map(int, re.findall(r"\d+", each))], reverse=True):
        if version := _VERSION.search(package.apt.show(name)):
            yield Package(package.apt, name, version[1])


def _fetch(
    package: Package,
    archive: Path,
    wanted: Target,
    work: Path,
    directory: Path,
    progress: Callable[[str], None],
) -> None:
    try:
        root = _unpack(archive, work, progress)
        _install(root, work / "out", wanted, progress)
        _publish(work / "out", directory)
    except ValueError as error:
        raise Unavailable(f"package {package.name} cannot be used: {error}") from error
    progress(f"kernel {package.name} {package.version} is in {directory}")


def _download(package: Package, work: Path, progress: Callable[[str], None]) -> Path:
    progress(f"downloading {package.name}")
    return package.apt.download(package.name, work)


def _unpack(archive: Path, work: Path, progress: Callable[[str], None]) -> Path:
    """The root directory of the unpacked package."""
    progress(f"unpacking {archive.name} ({archive.stat().st_size >> 20} MiB)")
    run(["dpkg-deb", "-x", str(archive), str(work / "root")])
    return work / "root"


def _install(root: Path, out: Path, wanted: Target, progress: Callable[[str], None]) -> None:
    """Copies what a guest needs from the unpacked package's ``root`` into the new directory ``out``."""
    kernels = list((root / "boot").glob("vmlinu[xz]-*"))
    if len(kernels) != 1:
        raise ValueError(f"{len(kernels)} kernels in it")
    version = kernels[0].name.partition("-")[2]
    library = next(path for path in (root / "usr/lib/modules", root / "lib/modules") if path.is_dir())
    chosen = modules.select(library / version, wanted.modules)
    out.mkdir(mode=0o755)
    kernel = _place(kernels[0], out)
    found = image.inspect(kernel)
    if found.architecture != wanted.architecture:
        raise ValueError(f"its kernel is for {found.architecture}, not for {wanted.architecture}")
    for module in chosen:
        (out / f"{module.name}.ko").write_bytes(module.data)
    names = [f"{module.name}.ko" for module in chosen]
    files = [kernel, *(out / name for name in names)]
    entry = record.Record(
        version=version,
        source="debian",
        kernel=kernel.name,
        pvh=found.pvh,
        digest=image.digest(files),
        modules=names,
        architecture=wanted.architecture,
    )
    (out / record.FILE_NAME).write_bytes(record.encode(entry))
    progress(f"kernel {version} with {len(names)} modules")


def _place(vmlinuz: Path, out: Path) -> Path:
    """The kernel in ``out``: unpacked where a hypervisor can start it so, 0.4 s less of every emulated boot."""
    plain = out / "vmlinux"
    try:
        plain.write_bytes(payload.extract(vmlinuz.read_bytes()))
        image.inspect(plain)
        return plain
    except (ValueError, InvalidArgument):
        plain.unlink(missing_ok=True)
        return vmlinuz.rename(out / "vmlinuz")


def _publish(out: Path, directory: Path) -> None:
    """A rename; where another process was quicker, its result stands."""
    try:
        out.rename(directory)
    except OSError:
        if not (directory / record.FILE_NAME).exists():
            raise
