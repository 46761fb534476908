"""A machine with nothing but Debian's smallest system and Python, in a container of an ordinary user.

Its root is made once by mmdebstrap, kept as a tar, and not written to; bubblewrap shuts the user in, with a home, no
network, no device but the harmless ones, and no way back.  All processes in it end with the command that was run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import real_images
from hypercontainer.kernel import cache_dir
from hypercontainer.linux import seccomp_default
from hypercontainer.linux.seccomp import compile_filter

UID = 12_347
REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"
PYTHON = re.compile(r"python(3\.\d+)")
PACKAGES = ("python3", "python3-venv")
# What a container of another maker allows is not ours to decide.
NO_NAMESPACES = ("--unshare-user", "--disable-userns")
TIMEOUT_S = 120


def dockers_filter() -> bytes:
    """The system calls that Docker lets an ordinary user's process make, unless it is told otherwise."""
    return compile_filter(seccomp_default.PROFILE, ())


class BareMachine:
    def __init__(self, root: Path, home: Path, wheels: Path) -> None:
        self.home = home
        self.root = root
        self.wheels = wheels

    def argv(self, command: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        user = [
            "setpriv",
            "--reuid",
            str(UID),
            "--regid",
            str(UID),
            "--clear-groups",
            "--bounding-set=-all",
            "--",
        ]
        places = ["--ro-bind", str(self.root), "/", "--ro-bind", str(self.wheels), "/mnt"]
        places += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind", str(self.home), "/home"]
        environment = ["--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/home"]
        box = [
            "bwrap",
            "--unshare-all",
            "--die-with-parent",
            *options,
            *places,
            *environment,
            "--chdir",
            "/home",
        ]
        return [*(user if os.geteuid() == 0 else []), *box, "--", *command]

    def sh(self, script: str, options: Sequence[str] = (), *, seccomp: bytes = b"") -> str:
        """What it writes to either output, below the filter ``seccomp``; AssertionError where a command fails."""
        with tempfile.TemporaryFile() as file:
            file.write(seccomp)
            file.seek(0)
            filtered = ["--seccomp", str(file.fileno())] if seccomp else []
            done = subprocess.run(
                self.argv(["/bin/sh", "-ec", script], [*options, *filtered]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=TIMEOUT_S,
                pass_fds=[file.fileno()] if seccomp else [],
            )
        assert done.returncode == 0, f"{script}\nstatus {done.returncode}\n{done.stdout}"
        return done.stdout


@contextmanager
def bare_machine(wheel: Path) -> Iterator[BareMachine]:
    """In its /mnt are ``wheel`` and what that depends on.  Skips by name where it cannot be made."""
    for program in ("bwrap", "mmdebstrap", "setpriv"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="hyper-bare-") as base:
        root, wheels, home = (Path(base, name) for name in ("root", "wheels", "home"))
        Path(base).chmod(0o755)
        root.mkdir()
        tar = _kept("bare", f"{real_images.SUITE} {real_images.SLIM} {PACKAGES}", _make_root)
        subprocess.run(["tar", "-xf", tar, "-C", root, "--exclude=./dev/*"], check=True)
        (python,) = (found for path in (root / "usr/bin").iterdir() if (found := PYTHON.fullmatch(path.name)))
        requirements = REQUIREMENTS.read_text()
        shutil.copytree(
            _kept("wheels", f"{python[1]} {requirements}", lambda to: _download(to, python[1])), wheels
        )
        shutil.copy(wheel, wheels)
        for path in (wheels, *wheels.iterdir()):
            path.chmod(0o755)
        home.mkdir()
        os.chown(home, UID, UID)
        yield BareMachine(root, home, wheels)


def _kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """What ``make`` makes, kept in the cache by the hash of ``recipe``."""
    folder = cache_dir() / "test-images"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                make(Path(work, "made"))
                Path(work, "made").rename(wanted)
    return wanted


def _make_root(to: Path) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", *real_images.SLIM]
    command += [f"--include={','.join(PACKAGES)}", real_images.SUITE, str(to)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _download(to: Path, python: str) -> None:
    """The wheels that CI tests with, for that machine's Python."""
    wanted = REQUIREMENTS.read_text().partition("# to build")[0]
    to.mkdir()
    lines = [line for line in wanted.splitlines() if line and line[0] != "#"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(to),
    ]
    done = subprocess.run([*command, f"--python-version={python}", *lines], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"what the wheel depends on cannot be had: {done.stderr.strip()[-200:]}")
