"""A full or failing disk, as an error that names the place and the remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hypercontainer.errors import Remedy, Unavailable

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def unavailable(what: str, where: Path | str, error: OSError) -> Unavailable:
    """``where``: what is on the disk, a path of ours that the user can look at."""
    message = f"{what}: {error.strerror or error}: {where}"
    if error.errno in FULL:
        return Unavailable(message, hint="free some space there", remedies=[Remedy("system.prune")])
    return Unavailable(message, hint="see to the disk's health")


def folder_of(fd: int) -> Path:
    """The directory of an open file, for messages."""
    return Path(os.readlink(f"/proc/self/fd/{fd}")).parent
