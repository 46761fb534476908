"""Requests about interfaces, addresses and routes (rtnetlink): pure.

Sources: rtnetlink(7), linux/if_link.h, linux/if_bridge.h.
"""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import sys
from typing import Any

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from hypercontainer.network.netlink import Message, Netlink
from hypercontainer.network.parts import Address, Interface, Network

SIOCGIFINDEX = 0x8933
UP = 1  # IFF_UP
NODAD = 2  # IFA_F_NODAD
ONLINK = 4  # RTNH_F_ONLINK
LLDP = 0x0E  # the last byte of its address
MAIN_TABLE, BOOT, LINK_SCOPE, UNIVERSE, UNICAST = 254, 3, 253, 0, 1


def bridge(name: str, mtu: int, mac: str) -> Message:
    """Its ports forward as soon as they are up, and what it is told of goes to none but who is known: no multicast
    snooping, which costs and drops what is not asked for.  What is sent to the address of LLDP it would hear itself,
    past all rules: it is to hand it on as any other, by the rules (see ``rules.bridged``)."""
    data = [["IFLA_BR_FORWARD_DELAY", 0], ["IFLA_BR_STP_STATE", 0], ["IFLA_BR_MCAST_SNOOPING", 0]]
    data.append(["IFLA_BR_GROUP_FWD_MASK", 1 << LLDP])
    attributes: list[list[Any]] = [["IFLA_MTU", mtu], ["IFLA_ADDRESS", mac]]
    return _new_link(name, "bridge", data, attributes)


def veth(name: str, peer: str, pid: int, mtu: int) -> Message:
    """``peer`` is in the namespace of process ``pid``."""
    other = {"attrs": [["IFLA_IFNAME", peer], ["IFLA_NET_NS_PID", pid], ["IFLA_MTU", mtu]]}
    return _new_link(name, "veth", [["VETH_INFO_PEER", other]], [["IFLA_MTU", mtu]])


def port(index: int, bridge_index: int, mtu: int) -> Message:
    """A tap device becomes a port of the bridge, and is up."""
    return _set_link(index, up=True, attributes=[["IFLA_MTU", mtu], ["IFLA_MASTER", bridge_index]])


def alone(index: int) -> list[Message]:
    """Down, and no bridge's port any more: in this order, or it would speak to others than the bridge meanwhile."""
    return [
        _set_link(index, up=False, attributes=[]),
        _set_link(index, up=False, attributes=[["IFLA_MASTER", 0]]),
    ]


def up(index: int) -> Message:
    return _set_link(index, up=True, attributes=[])


def sized(index: int, mtu: int) -> Message:
    """Up, with this MTU."""
    return _set_link(index, up=True, attributes=[["IFLA_MTU", mtu]])


def named(index: int, name: str) -> Message:
    """One that is down gets another name."""
    return _set_link(index, up=False, attributes=[["IFLA_IFNAME", name]])


def moved(index: int, pid: int) -> Message:
    """Into the namespace of the process, where it is down."""
    return _set_link(index, up=False, attributes=[["IFLA_NET_NS_PID", pid]])


def delete(index: int) -> Message:
    message = ifinfmsg()
    message["header"]["type"] = RTM_DELLINK
    message["index"] = index
    return message


def address(index: int, value: Interface) -> Message:
    message = ifaddrmsg()
    message["header"]["type"] = RTM_NEWADDR
    message["header"]["flags"] = NLM_F_CREATE | NLM_F_REPLACE
    message["family"] = _family(value.version)
    message["prefixlen"] = value.network.prefixlen
    message["index"] = index
    message["flags"] = NODAD if value.version == 6 else 0
    text = str(value.ip)
    message["attrs"] = [["IFA_LOCAL", text], ["IFA_ADDRESS", text]]
    return message


def route(index: int, to: Network, gateway: Address | None = None, *, gone: bool = False) -> Message:
    """By the interface; ``gateway`` is taken to be there.  ``gone``: it is to be removed.  Refused (EEXIST) where there
    is one to the same network: whoever's it is, it is not replaced."""
    message = rtmsg()
    message["header"]["type"] = RTM_DELROUTE if gone else RTM_NEWROUTE
    message["header"]["flags"] = 0 if gone else NLM_F_CREATE | NLM_F_EXCL
    message["family"] = _family(to.version)
    message["dst_len"] = to.prefixlen
    message["table"] = MAIN_TABLE
    message["proto"] = BOOT
    message["scope"] = UNIVERSE if gateway else LINK_SCOPE
    message["type"] = UNICAST
    message["flags"] = ONLINK if gateway else 0
    attributes: list[list[Any]] = [["RTA_OIF", index]]
    if to.prefixlen:
        attributes.append(["RTA_DST", str(to.network_address)])
    if gateway is not None:
        attributes.append(["RTA_GATEWAY", str(gateway)])
    message["attrs"] = attributes
    return message


def links(netlink: Netlink) -> list[Message]:
    """All interfaces."""
    message = ifinfmsg()
    message["header"]["type"] = RTM_GETLINK
    return netlink.dump("interfaces", message, ifinfmsg)


def addresses(netlink: Netlink) -> list[Message]:
    """All addresses of all interfaces."""
    message = ifaddrmsg()
    message["header"]["type"] = RTM_GETADDR
    return netlink.dump("addresses", message, ifaddrmsg)


def routes(netlink: Netlink, version: int) -> list[Message]:
    """All of the main table: what is led elsewhere than to this machine itself."""
    message = rtmsg()
    message["header"]["type"] = RTM_GETROUTE
    message["family"] = _family(version)
    found = netlink.dump("routes", message, rtmsg)
    return [each for each in found if each.get_attr("RTA_TABLE", each["table"]) == MAIN_TABLE]


def index(probe: socket.socket, device: str) -> int:
    """Of an interface in the namespace of ``probe``, any socket of it; 0 where there is none."""
    request = struct.pack("16sI20x", device.encode(), 0)
    try:
        answer = fcntl.ioctl(probe, SIOCGIFINDEX, request)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return 0
        raise
    return int.from_bytes(answer[16:20], sys.byteorder)


def _new_link(name: str, kind: str, data: list[list[Any]], attributes: list[list[Any]]) -> Message:
    message = ifinfmsg()
    message["header"]["type"] = RTM_NEWLINK
    message["header"]["flags"] = NLM_F_CREATE | NLM_F_EXCL
    message["flags"] = message["change"] = UP
    info = {"attrs": [["IFLA_INFO_KIND", kind], ["IFLA_INFO_DATA", {"attrs": data}]]}
    message["attrs"] = [["IFLA_IFNAME", name], *attributes, ["IFLA_LINKINFO", info]]
    return message


def _set_link(index: int, *, up: bool, attributes: list[list[Any]]) -> Message:
    message = ifinfmsg()
    message["header"]["type"] = RTM_SETLINK
    message["index"] = index
    message["flags"], message["change"] = (UP if up else 0), UP
    message["attrs"] = attributes
    return message


def _family(version: int) -> int:
    return socket.AF_INET if version == 4 else socket.AF_INET6
