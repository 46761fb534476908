"""Directories of our own on the host: made and removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hypercontainer.linux import disk


def make_private(path: Path) -> None:
    """Makes ``path`` and its parents, 0700.  Raises Unavailable, which names it."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise disk.unavailable("cannot make a directory", path, error) from error


def remove_tree(path: Path) -> None:
    """Removes a directory of ours; nothing happens where it is gone.  Links are removed, not followed."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk.unavailable("cannot remove a directory", path, error) from error


def used_bytes(path: Path) -> int:
    """What a file, or all files under a directory, take on the disk; 0 where it is gone."""
    total = 0
    try:
        if not path.is_dir():
            return os.stat(path).st_blocks * 512
        for folder, _, names in os.walk(path):
            for name in names:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118
    except FileNotFoundError:
        return total
    return total
