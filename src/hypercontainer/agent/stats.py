"""What a guest counts, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypercontainer.agent.operations import StatList

Numbers = dict[str, int]


@dataclass(frozen=True, slots=True)
class Stats:
    """What a container, or the VM, uses and has used; what the guest cannot tell is 0, or is not there.

    ``cpu_stat`` and ``memory_stat``: a container's files of that name, as cgroup v2 has them; ``disks``: its io.stat,
    by "major:minor"; ``interfaces``: by name, as /proc/net/dev has them.  ``pids_max`` 0: no limit."""

    cpu_ns: int = 0
    memory_bytes: int = 0
    memory_max_bytes: int = 0
    memory_cache_bytes: int = 0
    pids: int = 0
    net_rx_bytes: int = 0
    net_tx_bytes: int = 0
    net_rx_packets: int = 0
    net_tx_packets: int = 0
    block_read_bytes: int = 0
    block_write_bytes: int = 0
    pids_max: int = 0
    cpu_stat: Numbers = field(default_factory=dict)
    memory_stat: Numbers = field(default_factory=dict)
    disks: dict[str, Numbers] = field(default_factory=dict)
    interfaces: dict[str, Numbers] = field(default_factory=dict)

    @staticmethod
    def of(answer: StatList) -> Stats:
        """ "memory_stat anon" is one of many, "interfaces eth0 rx_bytes" of many that have many.  Numbers that this
        version does not know are left out: they are for people, not for decisions."""
        found: dict[str, Any] = {}
        for stat in answer.stats:
            name, *inner = stat.name.split(" ")
            if _DEPTHS.get(name) != len(inner):
                continue
            at, keys = found, [name, *inner]
            for key in keys[:-1]:
                at = at.setdefault(key, {})
            at[keys[-1]] = stat.number
        return Stats(**found)


# How many names stand behind each number's own.
_DEPTHS = {"cpu_stat": 1, "memory_stat": 1, "disks": 2, "interfaces": 2}
_DEPTHS = {name: _DEPTHS.get(name, 0) for name in Stats.__dataclass_fields__}
