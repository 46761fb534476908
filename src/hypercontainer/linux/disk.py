"""A full or failing disk, as an error that names the place and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hypercontainer.errors import Unavailable

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def unavailable(what: str, where: Path | str, error: OSError) -> Unavailable:
    """``where``: what is on the disk, a path of ours that the user can look at."""
    full = error.errno in FULL
    hint = "free some space there, e.g. with `hyper system prune`" if full else "see to the disk's health"
    return Unavailable(f"{what}: {error.strerror or error}: {where}", hint=hint)


def folder_of(fd: int) -> Path:
    """The directory of an open file, for messages."""
    return Path(os.readlink(f"/proc/self/fd/{fd}")).parent
