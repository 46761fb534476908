"""User IDs for the hypervisors' processes, one for each VM."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection

from hypercontainer.errors import Unavailable


def runs_as_root() -> bool:
    """Only root gives its VMs user IDs of their own."""
    return os.geteuid() == 0


def free_uid(base: int, count: int, taken: Collection[int]) -> int:
    """One that no VM of ours has, from a random place on: other hyperds take theirs from the same range."""
    start = secrets.randbelow(count)
    for offset in range(count):
        uid = base + (start + offset) % count
        if uid not in taken:
            return uid
    raise Unavailable(
        f"all {count} user IDs from {base} on are in use by VMs", hint="raise uid_count in the configuration"
    )
