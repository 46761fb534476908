"""What the kernel remembers of what came to published ports and to services.

Datagrams have no connection that ends: as long as a client goes on, what was translated once is translated in the same
way, wherever the port leads by then, or leads nowhere.  So it is forgotten when a port comes or goes.

Sources: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable

from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink.nfctsocket import (
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    NFCTAttrTuple,
    nfct_msg,
)

from hypercontainer.network.netlink import Message, Netlink, nothing_there
from hypercontainer.network.parts import PROTOCOLS, Led, Published, Served

_SUBSYSTEM = NFNL_SUBSYS_CTNETLINK << 8


def forget(host: Netlink, ports: Iterable[Led]) -> None:
    """Of datagrams: a stream ends by itself, and goes on for as long as its two ends want."""
    for port in ports:
        if isinstance(port, Published) and port.protocol == "udp":
            for flow in _found(host, ipaddress.ip_address(port.host_ip).version, "udp", port.host_port):
                _forget(host, flow)


def leave(inside: Netlink, served: Served, addresses: Collection[str]) -> None:
    """What came by a service to pods at these addresses: datagrams come to another from now on, and of a stream the
    rest does too, to one who knows nothing of it and says so."""
    for flow in _found(inside, 4, served.protocol, served.port, answered_by=addresses):
        if flow.daddr == served.ip and served.client in ("", flow.saddr):
            _forget(inside, flow)


def _found(
    netlink: Netlink, version: int, protocol: str, port: int, *, answered_by: Collection[str] | None = None
) -> list[NFCTAttrTuple]:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    asked = NFCTAttrTuple(family=family, proto=PROTOCOLS[protocol], dport=port)
    found = netlink.dump("flows", _message(IPCTNL_MSG_CT_GET, asked, only=True), nfct_msg)
    return [
        NFCTAttrTuple.from_netlink(family, each.get_attr("CTA_TUPLE_ORIG"))
        for each in found
        if answered_by is None
        or NFCTAttrTuple.from_netlink(family, each.get_attr("CTA_TUPLE_REPLY")).saddr in answered_by
    ]


def _forget(netlink: Netlink, flow: NFCTAttrTuple) -> None:
    with nothing_there():
        netlink.do("a flow", [_message(IPCTNL_MSG_CT_DELETE, flow)])


def _message(number: int, flow: NFCTAttrTuple, *, only: bool = False) -> Message:
    """``only``: the kernel is to look for what of the flow is said."""
    message = nfct_msg()
    message["header"]["type"] = _SUBSYSTEM | number
    message["nfgen_family"] = flow.family
    message["attrs"] = [["CTA_TUPLE_ORIG", {"attrs": flow.attrs()}]]
    if only:
        message["attrs"].append(["CTA_FILTER", {"attrs": [["CTA_FILTER_ORIG_FLAGS", flow.flags]]}])
    return message
