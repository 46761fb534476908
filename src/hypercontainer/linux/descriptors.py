"""How many file descriptors others may make this process hold.

What is not given to anybody here is the process's own work: VMs, disks, logs, transfers.
"""

from __future__ import annotations

import resource


def share(part: float) -> int:
    """So many of all that this process may have (RLIMIT_NOFILE)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return int(soft * part)
