#!/usr/bin/env python3
"""The vSphere simulator that the tests drive: Debian's govmomi, and tests/support/vcsim around it.

usage: vcsim.py

It is built offline of the sources that Debian packages, and kept as $HYPER_CACHE/vcsim/HASH, by what it is made of.
Printed is its path.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import suites

SOURCE = Path(__file__).resolve().parent.parent / "tests/support/vcsim/main.go"
LIBRARY = Path("/usr/share/gocode")
PACKAGES = ("golang-github-vmware-govmomi-dev", "golang-go")


def versions() -> str:
    """Of the packages that it is made of; raises ``suites.Missing`` where one is not installed."""
    return suites.output_of("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES)


def path() -> Path:
    """Where it is, or would be; raises ``suites.Missing``."""
    made_of = hashlib.sha256(SOURCE.read_bytes() + versions().encode()).hexdigest()[:16]
    return suites.cache_dir() / "vcsim" / made_of


def build() -> Path:
    """Raises ``suites.Missing``."""
    target = path()
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as work:
        made = Path(work) / "vcsim"
        environment = {
            "PATH": os.environ["PATH"],
            "GO111MODULE": "off",
            "GOPATH": str(LIBRARY),
            "GOFLAGS": "",
            "GOCACHE": f"{work}/cache",
            "HOME": work,
        }
        run = subprocess.run(
            ["go", "build", "-p", "1", "-trimpath", "-ldflags", "-s -w", "-o", str(made), str(SOURCE)],
            env=environment,
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise suites.Missing(f"it cannot be built: {run.stderr.strip()[-500:]}")
        made.rename(target)
    return target


def main() -> int:
    try:
        print(build())
    except (suites.Missing, OSError) as error:
        sys.stderr.write(f"the vSphere simulator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
