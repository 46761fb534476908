"""Podfiles: Hyper's own description of a pod, JSON or YAML, read on the side of whoever has the file.

``read`` is pure but for ``fetch``, which the caller gives (``fetching.py`` has the real one): so a URI in a podfile is
opened with the rights of the user who runs it, and hyperd opens none.
"""

from __future__ import annotations

from hypercontainer.podfile.pod import read
from hypercontainer.podfile.storage import Fetch

# What a podfile calls the fields of a specification that have another name there.
FIELDS = {
    "cpus": "resource.vcpu",
    "dns_options": "dnsOptions",
    "dns_search": "dnsSearch",
    "network_policy": "networkPolicy",
    "env": "envs",
    "groups": "user.additionalGroups",
    "memory_bytes": "resource.memory",
    "mounts": "volumes",
    "name": "id",
    "ports": "portmappings",
    "read_only": "readOnly",
    "restart": "restartPolicy",
    "stop_signal": "StopSignal",
    "sysctls": "sysctl",
    "working_dir": "workdir",
}

__all__ = ["FIELDS", "Fetch", "read"]
