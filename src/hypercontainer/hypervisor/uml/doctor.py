"""What an examination of the host says about running a guest's kernel as a process."""

from __future__ import annotations

import os

from hypercontainer.hypervisor import jail
from hypercontainer.hypervisor.driver import Check
from hypercontainer.hypervisor.shares import Usable
from hypercontainer.hypervisor.uml import maps
from hypercontainer.linux.confine import Means


def diagnose(means: Means, served: Usable) -> list[Check]:
    return [_jail(means), _shares(served), _maps()]


def _jail(means: Means) -> Check:
    name, found = "confinement of User Mode Linux", ", ".join(jail.words(means))
    if means.namespaces:
        return Check(name, True, f"its VMs are shut in by {found}")
    return Check(name, None, f"only {found}; no namespaces: {means.reason}", jail.NAMESPACES_HINT)


def _shares(served: Usable) -> Check:
    name = "directories of the host on User Mode Linux"
    if served.filesystem:
        return Check(name, True, "virtiofsd serves them, confined")
    return Check(name, None, f"cannot be shared: {served.reason}", served.remedy)


def _maps() -> Check:
    name, most = "mappings of a process", maps.most()
    if most is None or most >= maps.ENOUGH:
        return Check(name, True, f"{most or 'any number'} at most")
    detail = f"{most} at most: a guest's process that touches more than {most >> 8} MiB at random is ended"
    if os.geteuid() == 0:
        return Check(name, None, f"{detail}; hyperd raises that for the first VM that needs more")
    return Check(name, None, detail, maps.REMEDY)
