"""By what means networks are made here: root's, or an ordinary user's, and why there are none where there are none.

What they are made with is loaded when the first one is wanted: it takes hyperd a tenth of a second, and some never need
it.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from hypercontainer.engine.network.worker import Maker
from hypercontainer.engine.places import Places
from hypercontainer.network.parts import Fabric

TUN = Path("/dev/net/tun")
# Settings that let no ordinary user have a namespace where they are 0; the second is Debian's.
_NAMESPACES = ("user/max_user_namespaces", "kernel/unprivileged_userns_clone")


def found(places: Places) -> tuple[Maker | None, str]:
    """None with the reason; what only a try can tell is told by the first network."""
    if os.geteuid() == 0:
        return Maker(places.networks, partial(_of_root, places)), ""
    why = _refused()
    return None if why else Maker(places.networks, partial(_of_user, places)), why


def _refused() -> str:
    if not os.access(TUN, os.R_OK | os.W_OK):
        return f"{TUN} is not open to this user (chmod 666 {TUN}, as root, opens it)"
    for name in _NAMESPACES:
        setting = Path("/proc/sys") / name
        if setting.exists() and setting.read_text().strip() == "0":
            return f"users have no namespaces (sysctl {name.replace('/', '.')} is 0)"
    return ""


def _of_root(places: Places) -> Fabric:
    from hypercontainer.network.fabric import NamespaceFabric
    from hypercontainer.network.uplink import HostLink

    return NamespaceFabric(places.networks, HostLink(str(places.networks)), user=False)


def _of_user(places: Places) -> Fabric:
    from hypercontainer.hypervisor.carrier import Carrier
    from hypercontainer.network.fabric import NamespaceFabric
    from hypercontainer.network.way_out import WayOut

    return NamespaceFabric(places.networks, WayOut(Carrier(places.way_out, places.facts)), user=True)
