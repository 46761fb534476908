#!/usr/bin/env python3
"""Builds dist/hypercontainer-*.whl: this project with all that is native inside, for a host that has nothing.

usage: wheel.py [OUTPUT_FOLDER]

What is inside beside the Python code (docs/packaging.md):

    _guest/hyperstart    as `make guest` built it, and hyperstart-ARCHITECTURE as `make guest-ARCHITECTURE` did
    _guest/uml/          the User Mode Linux that `make kernel FLAVOUR=um` built last, and what of its source is ours
    _native/jail, netns, sharefs  as `make setup` built them
    _native/usernet      built here, linked with libslirp and glib: the host's libraries are no part of a wheel
    _native/private_memory.so    for clones of QEMU, where there is one
    .dist-info/licenses/ the texts, and SOURCES.md: where the sources of all this are

Nothing of the host is asked for but the GLIBC symbols of TAG, which is checked.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cross
import suites
from hypercontainer.errors import HyperError
from hypercontainer.kernel import Kernel, KernelStore, cache_dir
from hypercontainer.linux.architectures import debians

ROOT = Path(__file__).resolve().parents[1]
GLIBC = (2, 17)
TAG = f"manylinux_{GLIBC[0]}_{GLIBC[1]}_x86_64"
KERNEL_LICENCE, KERNEL_SUITES = "GPL-2.0-only WITH Linux-syscall-note", "backports or unstable suite"
LICENSE = f"Apache-2.0 AND {KERNEL_LICENCE} AND LGPL-2.1-or-later AND BSD-3-Clause AND MIT"
COMMON, COPYRIGHTS = Path("/usr/share/common-licenses"), Path("/usr/share/doc")
SLIRP = "libslirp-dev"
# By `make setup`; its usernet is linked with this machine's libraries.
INITS = ("_guest/hyperstart", *(f"_guest/hyperstart-{each}" for each in cross.MACHINES))
BUILT = (*INITS, "_native/jail", "_native/netns", "_native/sharefs", "_native/private_memory.so")
KERNEL_SOURCE = (("patches/um", "patches/um"), ("config", "config"), (".", "build.py"))


class BuildError(Exception):
    pass


@dataclass(frozen=True)
class Inside:
    """What a program of the wheel is made of: the package of this machine that has it, its licence, and the texts."""

    program: str
    what: str
    licence: str
    package: str
    texts: tuple[Path, ...]


def contents(slirp: Path) -> tuple[Inside, ...]:
    lgpl = COMMON / "LGPL-2.1"
    return (
        Inside(
            "hyperstart, jail, netns, sharefs",
            "musl",
            "MIT",
            "musl-dev",
            (COPYRIGHTS / "musl-dev/copyright",),
        ),
        Inside("usernet", "libslirp", "BSD-3-Clause", SLIRP, (slirp / "debian/copyright",)),
        *(
            Inside("usernet", what, licence, package, (COPYRIGHTS / package / "copyright", *texts))
            for what, licence, package, texts in (
                ("glib", "LGPL-2.1-or-later", "libglib2.0-dev", (lgpl,)),
                ("the GNU C library", "LGPL-2.1-or-later", "libc6-dev", (lgpl,)),
                ("PCRE2", "BSD-3-Clause", "libpcre2-dev", ()),
            )
        ),
    )


def output_of(*argv: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment})
    if done.returncode:
        raise BuildError(f"`{' '.join(map(str, argv[:4]))}` failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


def source_of(package: str) -> tuple[str, str]:
    """Name and version of the source of a package that is installed here."""
    name, version = output_of(
        "dpkg-query", "-W", "-f", "${source:Package} ${source:Version}", package
    ).split()
    return name, version


def suite() -> str:
    found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError("this machine is of no suite of Debian's")
    return found[1]


def stage(folder: Path, kernel: Kernel, slirp: Path) -> None:
    """The project as setuptools takes it, with what is only a wheel's."""
    package = folder / "src/hypercontainer"
    left = shutil.ignore_patterns("__pycache__", "_guest", "_native")
    shutil.copytree(ROOT / "src/hypercontainer", package, ignore=left)
    for name in BUILT:
        (package / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "src/hypercontainer" / name, package / name)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    native = folder / "native"
    output_of("make", "-C", ROOT / "native", f"OUT={native}", f"SLIRP_SOURCE={slirp}", native / "usernet")
    shutil.copy(native / "usernet", package / "_native/usernet")
    take_kernel(kernel, package / "_guest/uml")
    write_licences(folder / "licences", kernel, slirp)
    text = (ROOT / "pyproject.toml").read_text()
    for old, new in (
        ('license = "Apache-2.0"', f'license = "{LICENSE}"'),
        ('license-files = ["LICENSE"]', 'license-files = ["LICENSE", "licences/*"]'),
        ('"_guest/*"', '"_guest/*", "_guest/uml/*", "_guest/uml/source/**/*"'),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "pyproject.toml").write_text(text)


def take_kernel(kernel: Kernel, to: Path) -> None:
    to.mkdir()
    shutil.copy(kernel.path, to / kernel.path.name)
    shutil.copy(kernel.path.parent / "kernel.json", to)
    for into, name in KERNEL_SOURCE:
        source, target = ROOT / "guest/kernel" / name, to / "source" / into
        target.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir()) if source.is_dir() else [source]:
            shutil.copyfile(path, target / path.name)
    if (config := kernel.path.parent / ".config").exists():
        shutil.copyfile(config, to / "source/kernel.config")


def write_licences(folder: Path, kernel: Kernel, slirp: Path) -> None:
    folder.mkdir()
    record = json.loads((kernel.path.parent / "kernel.json").read_text())
    version = record.get("source_version", kernel.version)
    shutil.copyfile(COMMON / "GPL-2", folder / "linux-GPL-2.txt")
    where = f"linux {version}, of Debian's {KERNEL_SUITES}, with `source` beside it"
    lines = [f"| uml/linux | Linux {kernel.version} | {KERNEL_LICENCE} | {where} | linux-GPL-2.txt |"]
    for part in contents(slirp):
        name, version = source_of(part.package)
        texts = []
        for path in part.texts:
            text = f"{name}-copyright.txt" if path.name == "copyright" else f"{path.name}.txt"
            shutil.copyfile(path, folder / text)
            texts.append(text)
        lines.append(
            f"| {part.program} | {part.what} | {part.licence} | {name} {version}, of Debian's {suite()} | "
            f"{', '.join(texts)} |"
        )
    for architecture in cross.MACHINES:
        found = suites.fetch("musl-dev", (cross.SUITE,), debians(architecture))
        shutil.copyfile(
            cross.unpacked("musl-dev", architecture) / COPYRIGHTS.relative_to("/") / "musl-dev/copyright",
            folder / f"musl-{architecture}-copyright.txt",
        )
        lines.append(
            f"| hyperstart-{architecture} | musl | MIT | musl {found.version}, of Debian's {cross.SUITE} | "
            f"musl-{architecture}-copyright.txt |"
        )
    (folder / "SOURCES.md").write_text(SOURCES + "\n".join(lines) + "\n")


SOURCES = """\
# What is inside, under which licence, and where its source is

All that is not named here is Hyper's own, Apache License 2.0.  A source package of Debian's is had by
`apt-get source NAME=VERSION` from the suite that is named, or from Debian's archive of all that ever was in one.
Ours of the kernel are `hypercontainer/_guest/uml/source`: the patches, the options, and the program that
builds it of both.  `usernet` can be linked anew with another glib: `make -C native SLIRP_SOURCE=...` in Hyper's source.

| program | has | licence | source package | text |
| --- | --- | --- | --- | --- |
"""


def build(folder: Path, dist: Path) -> Path:
    """The wheel of what is staged."""
    made = folder / "dist"
    options = {"--build-option": [f"--plat-name={TAG}", "--python-tag=py3"]}
    script = f"from setuptools import build_meta; build_meta.build_wheel({str(made)!r}, {options!r})"
    commit_time = output_of("git", "-C", ROOT, "log", "-1", "--format=%ct")
    output_of(sys.executable, "-c", script, cwd=folder, SOURCE_DATE_EPOCH=commit_time)
    (wheel,) = made.glob("*.whl")
    dist.mkdir(exist_ok=True)
    for old in dist.glob("hypercontainer-*.whl"):
        old.unlink()
    return Path(shutil.move(wheel, dist / wheel.name))


def check_programs(package: Path) -> None:
    """That they may be run, and ask the host for nothing that TAG does not promise."""
    for path in (
        *(package / "_native").iterdir(),
        *(package / name for name in INITS),
        package / "_guest/uml/linux",
    ):
        if not os.access(path, os.X_OK):
            raise BuildError(f"{path.name} may not be run")
        dynamic = output_of("readelf", "-dV", path)
        if libraries := set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)) - {"libc.so.6"}:
            raise BuildError(f"{path.name} wants libraries of the host: {', '.join(sorted(libraries))}")
        versions = [(int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", dynamic)]
        if (newest := max(versions, default=GLIBC)) > GLIBC:
            raise BuildError(
                f"{path.name} wants version {newest} of the C library, and {TAG} promises {GLIBC}"
            )


def made(dist: Path) -> Path:
    """The wheel, in ``dist``.  Raises BuildError, Missing and HyperError."""
    if platform.machine() != "x86_64":
        raise BuildError("User Mode Linux is for x86-64 only, and so is the wheel")
    kernel = KernelStore(cache_dir()).program()
    slirp = suites.fetch_source(*source_of(SLIRP), suite())
    with tempfile.TemporaryDirectory(prefix="hyper-wheel-") as work:
        stage(Path(work), kernel, slirp)
        check_programs(Path(work, "src/hypercontainer"))
        return build(Path(work), dist)


def main() -> int:
    try:
        wheel = made(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist")
    except (BuildError, suites.Missing, HyperError, OSError) as error:
        sys.stderr.write(f"wheel: {error}\n")
        return 1
    print(f"wheel: {wheel}, {wheel.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
