"""What an examination of the host says about running a guest's kernel as a process."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypercontainer.hypervisor import jail
from hypercontainer.hypervisor.driver import Check
from hypercontainer.linux.confine import Means

MAP_COUNT = Path("/proc/sys/vm/max_map_count")
# Pages of 4 KiB: so much may a process of a guest touch at random.
ENOUGH_MAPS = 1 << 20


def diagnose(means: Means) -> list[Check]:
    return [_jail(means), _maps()]


def _jail(means: Means) -> Check:
    name, found = "confinement of User Mode Linux", ", ".join(jail.words(means))
    if means.namespaces:
        return Check(name, True, f"its VMs are shut in by {found}")
    return Check(name, None, f"only {found}; no namespaces: {means.reason}", jail.NAMESPACES_HINT)


def _maps() -> Check:
    """Each page of a guest's process that does not lie beside its neighbour is a mapping of the host's."""
    name, most = "mappings of a process", max_map_count()
    if most is None or most >= ENOUGH_MAPS:
        return Check(name, True, f"{most or 'any number'} at most")
    detail = f"{most} at most: a guest's process that touches more than {most >> 8} MiB at random is ended"
    return Check(name, None, detail, f"sysctl vm.max_map_count={ENOUGH_MAPS}")


def max_map_count() -> int | None:
    """None where the host does not say."""
    with contextlib.suppress(OSError, ValueError):
        return int(MAP_COUNT.read_text())
    return None
