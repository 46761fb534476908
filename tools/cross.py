#!/usr/bin/env python3
"""Builds the guest's init for another architecture than this machine's.

usage: cross.py ARCHITECTURE OUTPUT

Compiler, assembler and kernel headers are Debian's cross packages (`tools/setup.sh packages cross`), the C library is
musl, of Debian's package for that architecture, which is unpacked in $HYPER_CACHE/packages and never installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import suites
from hypercontainer.linux.architectures import debians

ROOT = Path(__file__).resolve().parents[1]
# By the compiler's word.
MACHINES = {"arm64": "aarch64", "riscv64": "riscv64", "ppc64le": "powerpc64le", "s390x": "s390x"}
SUITE = "trixie"  # the oldest that has all of them


def unpacked(package: str, architecture: str) -> Path:
    """The root of Debian's package for it; raises suites.Missing."""
    found = suites.fetch(package, (SUITE,), debians(architecture))
    root = found.path.with_suffix("")
    if not root.exists():
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=root.parent) as work:
            place = Path(work, "root")
            subprocess.run(["dpkg-deb", "-x", found.path, place], check=True)
            place.rename(root)
    return root


def make(architecture: str, *words: str) -> None:
    """In the init's folder, for that machine; raises suites.Missing and CalledProcessError."""
    musl = unpacked("musl-dev", architecture) / "usr"
    argv = ["make", "-s", "--no-print-directory", "-C", str(ROOT / "guest/init")]
    subprocess.run([*argv, f"CROSS={MACHINES[architecture]}", f"MUSL={musl}", *words], check=True)


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in MACHINES:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        make(sys.argv[1], f"OUT={Path(sys.argv[2]).absolute()}")
    except (suites.Missing, subprocess.CalledProcessError) as error:
        print(f"cross: {sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
