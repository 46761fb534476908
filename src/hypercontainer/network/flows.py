"""What the kernel remembers of what came to published ports and to services.

Datagrams have no connection that ends: as long as a client goes on, what was translated once is translated in the same
way, wherever the port leads by then, or leads nowhere.  So it is forgotten when a port comes or goes.

Sources: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Iterator

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
            version = ipaddress.ip_address(port.host_ip).version
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            asked = NFCTAttrTuple(family=family, proto=PROTOCOLS["udp"], dport=port.host_port)
            for flow, _ in found(host, asked):
                end(host, flow)


def leave(inside: Netlink, served: Served, addresses: Collection[str]) -> None:
    """What came by a service to pods at these addresses: datagrams come to another from now on, and of a stream the
    rest is refused, as nobody knows how it began."""
    asked = NFCTAttrTuple(family=socket.AF_INET, proto=PROTOCOLS[served.protocol], dport=served.port)
    for flow, back in found(inside, asked):
        meant = flow.daddr == served.ip and served.client in ("", flow.saddr)
        if meant and back.saddr in addresses:
            end(inside, flow)


def found(kernel: Netlink, asked: NFCTAttrTuple) -> Iterator[tuple[NFCTAttrTuple, NFCTAttrTuple]]:
    """Connections of which that is so: as who began each says it, and as it is answered."""
    message = _message(IPCTNL_MSG_CT_GET, asked, only=True)
    for each in kernel.dump("connections", message, nfct_msg):
        there, back = (
            NFCTAttrTuple.from_netlink(asked.family, each.get_attr(f"CTA_TUPLE_{end}"))
            for end in ("ORIG", "REPLY")
        )
        yield there, back


def end(kernel: Netlink, flow: NFCTAttrTuple) -> None:
    """It is not known any more; nothing happens where it is gone."""
    with nothing_there():
        kernel.do("a connection", [_message(IPCTNL_MSG_CT_DELETE, flow)])


def _message(number: int, flow: NFCTAttrTuple, *, only: bool = False) -> Message:
    """``only``: the kernel is to look for what of the flow is said."""
    message = nfct_msg()
    message["header"]["type"] = _SUBSYSTEM | number
    message["nfgen_family"] = flow.family
    message["attrs"] = [["CTA_TUPLE_ORIG", {"attrs": flow.attrs()}]]
    if only:
        message["attrs"].append(["CTA_FILTER", {"attrs": [["CTA_FILTER_ORIG_FLAGS", flow.flags]]}])
    return message
