#!/usr/bin/env python3
"""Builds the guest's own kernels: Debian's kernel source packages, ``patches/`` and the fragments in ``config/``.

usage: build.py [--jobs N] [FLAVOUR]...

    pc    for hypervisors with virtio: Linux 6.1
    wide  the same and more devices: Xen's, and those that VirtualBox and VMware imitate; also as a bzImage
    um    a program of the host, User Mode Linux: the newest Linux 7 of Debian's suites, since 6.16 brought seccomp mode

A fragment NN-PART.config is of the flavours alone that have this part; all others are everybody's.
Needs nothing but the standard library and the packages in PACKAGES.  The result is kept by what went into it:

    $HYPER_CACHE/kernel/KEY/      vmlinux (stripped ELF), .config, System.map, build.log, kernel.json
    $HYPER_CACHE/kernel/current   symbolic link to the KEY of pc that was asked for last; current-wide: of wide
    $HYPER_CACHE/uml/...          the same of um, its program called linux

KEY covers fragments, patches, this script, and the versions of source package and compiler.  A directory appears
complete or not at all, two builds at once wait for each other, and the build tree is removed in any case.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUITES = HERE.parents[1] / "tools/suites.py"
SOURCES = Path("/usr/src")  # where the packages of the machine's own suite put them
HEADER = Path("/usr/include/gelf.h")  # of libelf-dev
PACKAGES = "linux-source-6.1 gcc make patch flex bison bc libelf-dev xz-utils lz4"
# Never compiled for this guest, though their Kconfig files are read: a third of the time to unpack.
NOT_UNPACKED = (
    "*/Documentation/*.rst",
    "*/Documentation/*.yaml",
    "*/Documentation/*.txt",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/sound/*.[ch]",
    "*/arch/*.dts",
    "*/arch/*.dtsi",
    "*/tools/testing/*.[ch]",
    "*/tools/testing/*.sh",
)
NO_CHIPS = "*/drivers/net/ethernet/*.[ch]"
# Warnings, which are for the kernel's authors, take a twentieth of the time.
QUIET = "-w"
STEPS = 2000  # about what make reports; only the progress lines depend on it
PROGRESS_EVERY_S = 15
FREE_BYTES_NEEDED = 3 << 30


class BuildError(Exception):
    pass


@dataclass(frozen=True)
class Flavour:
    """``parts`` name its fragments, ``patches`` their folder.  ``arch`` and ``target`` are make's; ``image`` is the
    linked kernel, which is stripped; ``also`` are files that are kept as they are, by their names in the result.
    ``package``: the source's, a name or, of Debian's newer suites, what it matches.  ``directory`` of the cache has the
    kernels, and in it ``current`` is the link to this one's.  ``left_out`` of the source are files it does without."""

    name: str
    parts: frozenset[str]
    patches: str
    arch: str
    package: str
    newer_suites: tuple[str, ...]
    target: str
    image: str
    directory: str
    current: str
    compiler_flags: str
    facts: Mapping[str, object]
    left_out: tuple[str, ...] = (*NOT_UNPACKED, NO_CHIPS)
    also: Mapping[str, str] = field(default_factory=dict)


# The compiler's choice for memset at -Os, a byte at a time, is the slowest an emulator can do.
OF_A_PC = f"-mstringop-strategy=rep_8byte {QUIET}"
PC = Flavour(
    name="pc",
    parts=frozenset({"pc"}),
    patches="pc",
    arch="x86_64",
    package="linux-source-6.1",
    newer_suites=(),
    target="vmlinux",
    image="vmlinux",
    directory="kernel",
    current="current",
    compiler_flags=OF_A_PC,
    facts={"pvh": True, "devices": ["virtio"]},
)
WIDE = replace(
    PC,
    name="wide",
    parts=frozenset({"pc", "xen", "hardware"}),
    target="bzImage",
    current="current-wide",
    facts={
        "pvh": True,
        "devices": ["virtio", "vsock", "xen", "pc", "vmware"],
        "bzimage": "bzImage",
    },
    left_out=NOT_UNPACKED,
    also={"bzImage": "arch/x86/boot/bzImage"},
)
UM = Flavour(
    name="um",
    parts=frozenset({"um"}),
    patches="um",
    arch="um",
    package=r"linux-source-7\.[0-9]+",
    newer_suites=("trixie-backports", "sid"),
    target="linux",
    image="linux",
    directory="uml",
    current="current",
    compiler_flags=QUIET,
    facts={"pvh": False, "program": True},
)
FLAVOURS = {flavour.name: flavour for flavour in (PC, WIDE, UM)}


@dataclass(frozen=True)
class Source:
    """``package`` is a file where it is not installed: the archive lies in it where the installed one would."""

    name: str
    version: str
    package: Path | None

    @property
    def archive(self) -> Path:
        return SOURCES / f"{self.name}.tar.xz"


def source_of(flavour: Flavour) -> Source:
    if not flavour.newer_suites:
        version = output_of("dpkg-query", "-W", "-f", "${Version}", flavour.package)
        return Source(flavour.package, version, None)
    suites = [word for suite in flavour.newer_suites for word in ("--suite", suite)]
    path, name, version, _ = output_of(sys.executable, str(SUITES), flavour.package, *suites).split()
    return Source(name, version, Path(path))


def say(text: str) -> None:
    sys.stdout.write(f"kernel: {text}\n")
    sys.stdout.flush()


def cache_dir() -> Path:
    """As ``hypercontainer.kernel.cache_dir``."""
    if named := os.environ.get("HYPER_CACHE"):
        if not named.startswith("/"):
            raise BuildError(f"HYPER_CACHE={named}: not an absolute path")
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hyper"


def output_of(*argv: str) -> str:
    try:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"`{' '.join(argv)}` failed; needed: apt-get install {PACKAGES}") from error


def check_tools() -> None:
    missing = [
        tool
        for tool in ("gcc", "make", "patch", "flex", "bison", "bc", "xz", "lz4", "tar")
        if not shutil.which(tool)
    ]
    archives = [SOURCES / f"{one.package}.tar.xz" for one in FLAVOURS.values() if not one.newer_suites]
    missing += [str(path) for path in (*archives, HEADER) if not path.exists()]
    if missing:
        raise BuildError(f"missing: {', '.join(missing)}; needed: apt-get install {PACKAGES}")


def fragments(flavour: Flavour) -> list[Path]:
    """Everybody's and its own.  The last to name an option says what it is."""
    parts = frozenset().union(*(each.parts for each in FLAVOURS.values()))
    others = tuple(f"-{name}.config" for name in parts - flavour.parts)
    return sorted(path for path in (HERE / "config").glob("*.config") if not path.name.endswith(others))


def patches(flavour: Flavour) -> list[Path]:
    return sorted((HERE / "patches" / flavour.patches).glob("*.patch"))


def build_key(flavour: Flavour, source: Source, compiler: str) -> str:
    """16 hexadecimal digits; a file's name and length are in it, so that no two inputs look alike."""
    total = hashlib.sha256()
    for text in (flavour.name, source.name, source.version, compiler):
        total.update(f"{text}\n".encode())
    for path in (Path(__file__), *fragments(flavour), *patches(flavour)):
        content = path.read_bytes()
        total.update(f"{path.name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:16]


def parse_config(text: str) -> dict[str, str]:
    """Options by name; what is off is 'n', whether written ``=n`` or ``# ... is not set``."""
    options = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"(CONFIG_\w+)=(.*)", line):
            options[found[1]] = found[2]
        elif found := re.fullmatch(r"# (CONFIG_\w+) is not set", line):
            options[found[1]] = "n"
    return options


def unmet(asked: dict[str, str], final: dict[str, str]) -> list[str]:
    """What ``asked`` wants and ``final`` does not have: a dependency is missing, or the name is wrong."""
    return [
        f"{name}: asked {value}, got {final.get(name, 'n')}"
        for name, value in asked.items()
        if final.get(name, "n") != value
    ]


def asked_options(flavour: Flavour) -> dict[str, str]:
    asked: dict[str, str] = {}
    for path in fragments(flavour):
        asked |= parse_config(path.read_text())
    return asked


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Tree:
    """The unpacked source in ``work``; ``log`` takes all that tar and make say."""

    def __init__(self, work: Path, flavour: Flavour, source: Source, jobs: int) -> None:
        self.work = work
        self.flavour = flavour
        self.jobs = jobs
        self.log = work / "build.log"
        self._source = source
        self._archive = source.archive if source.package is None else self._taken_out(source.package)
        self._environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LC_ALL": "C",
            "TMPDIR": str(work),
            "KBUILD_BUILD_USER": "hyper",
            "KBUILD_BUILD_HOST": "hyper",
            "KBUILD_BUILD_VERSION": "1",
            "KBUILD_BUILD_TIMESTAMP": time.strftime(
                "%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._archive.stat().st_mtime)
            ),
        }

    def _taken_out(self, package: Path) -> Path:
        """The archive of a package that is not installed."""
        inside = f".{self._source.archive}"
        files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
        taken = subprocess.run(["tar", "-x", "-C", self.work, inside], stdin=files.stdout)
        assert files.stdout is not None
        files.stdout.close()
        if files.wait() or taken.returncode:
            raise BuildError(f"{package} has no {inside}")
        return self.work / inside

    def unpack(self) -> None:
        (self.work / "linux").mkdir()
        excludes = [f"--exclude={pattern}" for pattern in self.flavour.left_out]
        self._run("tar", "-xf", str(self._archive), "-C", "linux", "--strip-components=1", *excludes)
        for path in patches(self.flavour):
            self._run("patch", "-d", "linux", "-p1", "--fuzz=0", "-i", str(path))

    def configure(self) -> dict[str, str]:
        """Applies the fragments; raises BuildError that names every option that did not take."""
        config = self.work / "linux/.config"
        self._make("tinyconfig")
        with config.open("a") as file:
            file.writelines(path.read_text() for path in fragments(self.flavour))
        self._make("olddefconfig")
        final = parse_config(config.read_text())
        if missing := unmet(asked_options(self.flavour), final):
            raise BuildError("options that did not take:\n  " + "\n  ".join(missing))
        return final

    def build(self) -> None:
        self._make(f"-j{self.jobs}", self.flavour.target, steps=STEPS)
        self._run("strip", "-s", "-o", "stripped", f"linux/{self.flavour.image}")

    def release(self) -> str:
        return (self.work / "linux/include/config/kernel.release").read_text().strip()

    def _make(self, *arguments: str, steps: int = 0) -> None:
        flags = f"KCFLAGS={self.flavour.compiler_flags}"
        self._run("make", "-C", "linux", f"ARCH={self.flavour.arch}", flags, *arguments, steps=steps)

    def _run(self, *argv: str, steps: int = 0) -> None:
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                argv,
                cwd=self.work,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                follow(process.stdout, log.write, steps)
            except BaseException:
                process.terminate()  # make passes it on to what it started
                raise
        if process.returncode:
            tail = "".join(self.log.read_text().splitlines(keepends=True)[-25:])
            raise BuildError(f"`{' '.join(argv[:6])}` failed, exit status {process.returncode}:\n{tail}")


def follow(lines: Iterable[str], write: Callable[[str], object], steps: int) -> None:
    started = shown = time.monotonic()
    for number, line in enumerate(lines, 1):
        write(line)
        now = time.monotonic()
        if steps and now - shown >= PROGRESS_EVERY_S:
            shown = now
            say(f"compiling, {min(99, 100 * number // steps)} % after {now - started:.0f} s")


def write_result(tree: Tree, out: Path, facts: dict[str, object]) -> None:
    linux, name = tree.work / "linux", tree.flavour.image
    for source, target in (
        (tree.work / "stripped", name),
        (linux / ".config", ".config"),
        (linux / "System.map", "System.map"),
        (tree.log, "build.log"),
        *((linux / source, target) for target, source in tree.flavour.also.items()),
    ):
        shutil.copyfile(source, out / target)
    image = (out / name).read_bytes()
    (out / name).chmod(0o755)  # one of them is a program
    record = {
        "version": tree.release(),
        "source": "own",
        "kernel": name,
        **tree.flavour.facts,
        "digest": f"sha256:{hashlib.sha256(image).hexdigest()}",
        "modules": [],
        "bytes": len(image),
        **facts,
    }
    (out / "kernel.json").write_text(json.dumps(record, indent=2) + "\n")
    out.chmod(0o755)


def build(directory: Path, key: str, flavour: Flavour, source: Source, compiler: str, jobs: int) -> None:
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="hyper-kernel-") as work_name,
        tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as out_name,
    ):
        if shutil.disk_usage(work_name).free < FREE_BYTES_NEEDED:
            raise BuildError(f"{work_name}: less than {FREE_BYTES_NEEDED >> 30} GiB free; set TMPDIR")
        tree = Tree(Path(work_name), flavour, source, jobs)
        say(f"building {source.name} {source.version} with {jobs} jobs, some minutes; then it is cached")
        tree.unpack()
        options = tree.configure()
        say(f"unpacked and configured after {time.monotonic() - started:.0f} s")
        tree.build()
        facts: dict[str, object] = {
            "key": key,
            "source_version": source.version,
            "compiler": compiler,
            "options": sum(value != "n" for value in options.values()),
            "build_seconds": round(time.monotonic() - started, 1),
            "jobs": jobs,
        }
        write_result(tree, Path(out_name), facts)
        Path(out_name).rename(directory / key)
    say(f"built in {facts['build_seconds']} s, {facts['options']} options")


def kernel_of(flavour: Flavour, compiler: str, jobs: int) -> Path:
    """Built, unless it was before."""
    source = source_of(flavour)
    directory = cache_dir() / flavour.directory
    directory.mkdir(parents=True, exist_ok=True)
    key = build_key(flavour, source, compiler)
    with locked(directory / ".build.lock"):
        if not (directory / key / "kernel.json").exists():
            build(directory, key, flavour, source, compiler, jobs)
        point(directory / flavour.current, key)
    return directory / key / flavour.image


def point(link: Path, key: str) -> None:
    new = link.with_name(f".{link.name}-{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(key)
    new.rename(link)


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the guest's own kernels, once per set of options.")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="compilers at a time")
    parser.add_argument("flavours", nargs="*", metavar="FLAVOUR", help="all, unless it is said")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the work directory is removed
    try:
        if unknown := set(given.flavours) - FLAVOURS.keys():
            raise BuildError(f"no flavour {min(unknown)!r}; there are {', '.join(FLAVOURS)}")
        check_tools()
        compiler = output_of("gcc", "--version").splitlines()[0]
        for name in given.flavours or FLAVOURS:
            say(str(kernel_of(FLAVOURS[name], compiler, given.jobs)))
    except (BuildError, OSError) as error:
        sys.stderr.write(f"kernel: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
