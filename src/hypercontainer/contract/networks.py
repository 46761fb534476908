"""Networks of pods: what a user asks for, of a network and of a pod's place in one.

Part of what a user asks for (``spec.py``): wire form and stored form in one.  ``None`` and "" mean "not said".
"""

from __future__ import annotations

from msgspec import Struct, field

# The network that a pod is put into that names none, where hyperd can make networks.
DEFAULT = "bridge"
# Not networks that are made: a network of the VM's own behind the host's addresses, none at all, and the one that the
# pod's hypervisor has already.
USER, NONE, HYPERVISOR = "user", "none", "hypervisor"
# Begins the names of networks that plugins of others make (CNI).
CNI = "cni:"
DRIVER, CNI_DRIVER = "bridge", "cni"
MTU_MIN, MTU_MAX = 576, 65521
SERVICES_MAX = 100  # of a pod
PEERS_MAX = 100  # behind one of these


class Subnet(Struct, frozen=True, forbid_unknown_fields=True):
    """``subnet`` as "10.89.0.0/24" or of IPv6; ``gateway``: its first address; pods' are in ``ip_range``."""

    subnet: str
    gateway: str = ""
    ip_range: str = ""


class NetworkSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``subnets`` (): one that nobody on this machine has; of each version of IP at most one.  ``internal``: there is
    no way out of it.  ``mtu`` None: the host's.  ``options`` and ``attachable``: what Docker's clients say besides;
    it changes nothing, and is shown to them again."""

    name: str
    subnets: tuple[Subnet, ...] = ()
    ipv6: bool = False
    internal: bool = False
    mtu: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    attachable: bool = False


class Join(Struct, frozen=True, forbid_unknown_fields=True):
    """A pod's place in a network.  ``name``: the network's, or its ID; or "user", "none" or "hypervisor", which is
    then the only one; or "cni:" and the name of a configuration of CNI, with others of these alone.
    ``ip``, ``ip6``: static addresses; ``aliases``: more names of the pod there; ``links``: as a container has them
    (``ContainerSpec``).  Of several networks the one of the
    highest ``priority`` has the pod's way out, of equal ones the first by name."""

    name: str
    aliases: tuple[str, ...] = ()
    ip: str = ""
    ip6: str = ""
    mac_address: str = ""
    priority: int = 0
    links: tuple[str, ...] = ()


class Peer(Struct, frozen=True, forbid_unknown_fields=True):
    """Who stands behind a service: an address of IPv4 and a port."""

    ip: str
    port: int


class PodService(Struct, frozen=True, forbid_unknown_fields=True):
    """An address and port that the pod alone finds, and who answers there: each new connection comes to one of
    ``peers``, by chance.  ``protocol``: tcp or udp."""

    ip: str
    port: int
    peers: tuple[Peer, ...]
    protocol: str = "tcp"
