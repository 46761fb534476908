#!/usr/bin/env python3
"""VirtualBox for the tests: Debian's of sid's contrib, unpacked into a root of its own and never installed.

usage: virtualbox_root.py

Prints the root's path.  It is $HYPER_CACHE/virtualbox/KEY, by the names and versions of its packages; older ones are
removed.  Where the mirror is not to be had, the newest that was made before is taken.  It has what VBoxManage, VBoxSVC,
VirtualBoxVM and Xvfb need and no kernel module; tests/support/virtualbox_bed.py runs them in it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from suites import Apt, Missing, cache_dir

SUITE, COMPONENTS = "sid", "main contrib"
# A shell, for keymaps of Xvfb; and the locale, without which VirtualBox ends at once.
WANTED = ("virtualbox", "virtualbox-qt", "xvfb", "dash", "libc-bin")
# What their packages depend on and these programs do not, in a version that satisfies them.
UNNEEDED = {
    "virtualbox-dkms": "99",
    "python3": "3.14.1",
    "python3.14": "3.14.1",
    "python3-packaging": "99",
    "systemd": "999",
    "iproute2": "99",
    "procps": "99:99",
    "libllvm22": "99:99",
}
_RECIPE = "1"  # part of the key: changes with what is done with the packages
_UNREAD = ("usr/share/doc", "usr/share/man", "usr/share/locale")
_LINKS = ("bin", "sbin", "lib", "lib64")


def made() -> Path | None:
    """The newest that there is, without asking anybody."""
    roots = sorted(_base().glob("root-*"), key=lambda path: path.stat().st_mtime)
    return roots[-1] if roots else None


def root() -> Path:
    """Raises ``Missing``."""
    _base().mkdir(parents=True, exist_ok=True)
    try:
        return _current(_base())
    except (Missing, OSError) as error:
        if (before := made()) is None:
            raise Missing(str(error)) from error
        return before


def _base() -> Path:
    return cache_dir() / "virtualbox"


def _current(base: Path) -> Path:
    apt = Apt(base / "apt", (SUITE,), components=COMPONENTS)
    apt.update(anew=False)
    packages = apt.needed(WANTED, UNNEEDED)
    key = hashlib.sha256(repr((_RECIPE, packages)).encode()).hexdigest()[:16]
    kept = base / f"root-{key}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix=".make-", dir=base) as work:
            _make(apt, packages, Path(work) / "root").rename(kept)
        for other in base.glob("root-*"):
            if other != kept:
                shutil.rmtree(other, ignore_errors=True)
    return kept


def _make(apt: Apt, packages: list[tuple[str, str]], new: Path) -> Path:
    new.mkdir()
    for link in _LINKS:
        (new / link).symlink_to(f"usr/{link}")
    with tempfile.TemporaryDirectory(prefix=".debs-", dir=new.parent) as work:
        for deb in apt.fetch_all(packages, Path(work)):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(new)], check=True)
    for path in _UNREAD:
        shutil.rmtree(new / path, ignore_errors=True)
    return new


def main() -> int:
    if os.geteuid() != 0:
        sys.stderr.write("VirtualBox: only root makes its root and runs it there\n")
        return 1
    try:
        print(root())
    except Missing as error:
        sys.stderr.write(f"VirtualBox: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
