"""What the host's kernel remembers of datagrams that came to published ports.

They have no connection that ends: as long as a client goes on, what was translated once is translated in the same way,
wherever the port leads by then, or leads nowhere.  So it is forgotten when a port comes or goes.

Sources: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink.nfctsocket import (
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    NFCTAttrTuple,
    nfct_msg,
)

from hypercontainer.network.netlink import Message, Netlink, nothing_there
from hypercontainer.network.parts import PROTOCOLS, Published

_SUBSYSTEM = NFNL_SUBSYS_CTNETLINK << 8


def forget(host: Netlink, ports: Iterable[Published]) -> None:
    """Of datagrams: a stream ends by itself, and goes on for as long as its two ends want."""
    for port in ports:
        if port.protocol != "udp":
            continue
        version = ipaddress.ip_address(port.host_ip).version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        asked = NFCTAttrTuple(family=family, proto=PROTOCOLS["udp"], dport=port.host_port)
        for found in host.dump("flows of datagrams", _message(IPCTNL_MSG_CT_GET, asked, only=True), nfct_msg):
            flow = NFCTAttrTuple.from_netlink(family, found.get_attr("CTA_TUPLE_ORIG"))
            with nothing_there():
                host.do("a flow of datagrams", [_message(IPCTNL_MSG_CT_DELETE, flow)])


def _message(number: int, flow: NFCTAttrTuple, *, only: bool = False) -> Message:
    """``only``: the kernel is to look for what of the flow is said."""
    message = nfct_msg()
    message["header"]["type"] = _SUBSYSTEM | number
    message["nfgen_family"] = flow.family
    message["attrs"] = [["CTA_TUPLE_ORIG", {"attrs": flow.attrs()}]]
    if only:
        message["attrs"].append(["CTA_FILTER", {"attrs": [["CTA_FILTER_ORIG_FLAGS", flow.flags]]}])
    return message
