"""How fast a device sends: a token bucket in place of its queue (tc-tbf(8)), which keeps back what comes too soon.

Sources: linux/pkt_sched.h, net/sched/sch_tbf.c of the kernel.
"""

from __future__ import annotations

import struct

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE, nlmsg
from pyroute2.netlink.rtnl import RTM_DELQDISC, RTM_NEWQDISC

from hypercontainer.network.netlink import Message
from hypercontainer.network.sets import attribute

ROOT = 0xFFFFFFFF
LEAST_BURST = 256 << 10  # bytes: four of the largest frames
QUEUE_PART = 10  # a second: what waits is sent within this part of one, and else lost
_ETHERNET = 1
_PARAMETERS, _RATE64, _BURST = 1, 4, 6
_RATE_MAX = 0xFFFFFFFF


class _QueueMessage(nlmsg):  # type: ignore[misc]
    fields = (("family", "B"), ("pad", "3s"), ("index", "i"), ("handle", "I"), ("parent", "I"), ("info", "I"))
    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "cdata"))


def queue(index: int, rate: int) -> Message:
    """``rate`` in bytes a second; 0: as fast as it can."""
    message = _QueueMessage()
    message["header"]["type"] = RTM_NEWQDISC if rate else RTM_DELQDISC
    message["index"], message["parent"], message["pad"] = index, ROOT, bytes(3)
    if rate:
        message["header"]["flags"] = NLM_F_CREATE | NLM_F_REPLACE
        message["attrs"] = [["TCA_KIND", "tbf"], ["TCA_OPTIONS", _bucket(rate)]]
    return message


def _bucket(rate: int) -> bytes:
    burst = min(max(LEAST_BURST, rate // QUEUE_PART), 1 << 30)
    speed = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, min(rate, _RATE_MAX))
    none = bytes(len(speed))
    limits = struct.pack("=III", min(burst + rate // QUEUE_PART, _RATE_MAX), 0, 0)
    large = attribute(_RATE64, struct.pack("=Q", rate)) if rate > _RATE_MAX else b""
    return attribute(_PARAMETERS, speed + none + limits) + large + attribute(_BURST, struct.pack("=I", burst))
