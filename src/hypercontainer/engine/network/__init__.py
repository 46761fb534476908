"""Networks of VMs, by the name that a specification has for them."""

from __future__ import annotations

from hypercontainer.engine.network.network import Network, NoNetwork
from hypercontainer.engine.network.user import UserNetwork

_NETWORKS: dict[str, Network] = {"user": UserNetwork(), "none": NoNetwork()}


def find(name: str) -> Network:
    """One of no known name is as good as none was said."""
    return _NETWORKS.get(name, _NETWORKS["user"])
