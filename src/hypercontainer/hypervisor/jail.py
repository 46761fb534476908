"""What the processes of VMs are shut in by, on this host; see ``linux.confine``."""

from __future__ import annotations

import os
import platform

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor import programs
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.linux import confine, executable
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import surroundings

MISSING_HINT = "build it with `make setup`, or install Hyper from its wheel, which has it"
NAMESPACES_HINT = "allow user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone"


async def means(cache: FactCache, *, refresh: bool = False) -> Means:
    """What can be had here, tried out once a boot and container.  Raises ``Unavailable`` without any jail."""
    try:
        jail = programs.file_key(executable.mended(confine.JAIL))
    except FileNotFoundError:
        raise Unavailable(f"VMs cannot be confined: there is no {confine.JAIL}", hint=MISSING_HINT) from None
    key = f"jail {jail} {surroundings()}"
    return await cache.learned(key, Means, _tried, refresh=refresh)


async def _tried() -> Means:
    spaces = ["root", "pids", *(["user"] if os.geteuid() != 0 else [])]
    reason = ""
    for namespaces in (True, False):
        status, said = await programs.ask(confine.JAIL, "landlock", *(spaces if namespaces else ()))
        if status == 0:
            return Means(namespaces, int(said), reason)
        reason = said.strip().rpartition("\n")[2][:200]
    raise Unavailable(f"VMs cannot be confined on Linux {platform.release()}: {reason}")


def words(means: Means) -> tuple[str, ...]:
    """What shuts a VM's process in here."""
    found = ["system calls"]
    found += ["a root of its own", "namespaces"] if means.namespaces else []
    return (*found, *([f"Landlock {means.landlock}"] if means.landlock else []))
