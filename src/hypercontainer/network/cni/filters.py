"""Requests about traffic control (rtnetlink): what comes in by one interface goes out by another.  Pure.

The classifier is ``u32``, which every kernel with a classifier has, told to look at nothing, or at few bytes of what
follows the Ethernet header.  What is to go nowhere is led to the namespace's loopback interface, where nobody is: not
every kernel has an action that drops.

Sources: linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h, linux/if_ether.h.
"""

from __future__ import annotations

import socket

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL
from pyroute2.netlink.rtnl import RTM_DELQDISC, RTM_NEWQDISC, RTM_NEWTFILTER
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from hypercontainer.network.netlink import Message

INGRESS, INGRESS_HANDLE = 0xFFFFFFF1, 0xFFFF0000  # TC_H_INGRESS
ALL, VLAN, PROVIDER_VLAN = 0x0003, 0x8100, 0x88A8  # ETH_P_ALL, ETH_P_8021Q, ETH_P_8021AD
LOOPBACK = 1  # the index of a namespace's first interface
STOLEN, REDIRECT = 4, 1  # TC_ACT_STOLEN, TCA_EGRESS_REDIR
ANYTHING = "0x0/0x0+0"
IPV4, TO_LOOPBACK = "0x40/0xf0+0", "0x7f/0xff+16"  # its version; its destination, 127.0.0.0/8


def ingress(index: int, *, gone: bool = False) -> Message:
    """Where filters of what comes in are hung."""
    message = _message(RTM_DELQDISC if gone else RTM_NEWQDISC, index)
    message["parent"], message["handle"] = INGRESS, INGRESS_HANDLE
    message["attrs"] = [["TCA_KIND", "ingress"]]
    return message


def from_guest(index: int, other: int) -> list[Message]:
    """From a VM's device: no frame with a VLAN tag, which would hide what is in it, and none to the host's loopback
    address, where a host with published ports may take it (``route_localnet``)."""
    return [
        _redirect(index, LOOPBACK, 1, [ANYTHING], VLAN),
        _redirect(index, LOOPBACK, 2, [ANYTHING], PROVIDER_VLAN),
        _redirect(index, LOOPBACK, 3, [IPV4, TO_LOOPBACK]),
        _redirect(index, other, 4, [ANYTHING]),
    ]


def to_guest(index: int, other: int) -> list[Message]:
    """All that comes."""
    return [_redirect(index, other, 1, [ANYTHING])]


def _redirect(index: int, other: int, priority: int, keys: list[str], protocol: int = ALL) -> Message:
    message = _message(RTM_NEWTFILTER, index)
    message["parent"] = INGRESS_HANDLE
    message["info"] = priority << 16 | socket.htons(protocol)
    parameters = {"action": STOLEN, "eaction": REDIRECT, "ifindex": other}
    action = [
        ["TCA_ACT_KIND", "mirred"],
        ["TCA_ACT_OPTIONS", {"attrs": [["TCA_MIRRED_PARMS", parameters]]}],
    ]
    options = [
        ["TCA_U32_SEL", {"keys": keys}],
        ["TCA_U32_ACT", {"attrs": [["TCA_ACT_PRIO_1", {"attrs": action}]]}],
    ]
    message["attrs"] = [["TCA_KIND", "u32"], ["TCA_OPTIONS", {"attrs": options}]]
    return message


def _message(kind: int, index: int) -> Message:
    message = tcmsg()
    message["header"]["type"] = kind
    message["header"]["flags"] = 0 if kind == RTM_DELQDISC else NLM_F_CREATE | NLM_F_EXCL
    message["index"] = index
    return message
