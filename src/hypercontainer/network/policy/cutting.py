"""Connections that a policy does not allow any more are forgotten: what comes of them is new, and denied.

Where one has gone is told by who answers it: by a service it came to a pod.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

from hypercontainer.network import flows
from hypercontainer.network.netlink import Netlink
from hypercontainer.network.parts import Flow
from hypercontainer.network.policy.kernel import PROXY_PORT
from hypercontainer.network.policy.language import TCP


def cut(kernel: Netlink, addresses: Iterable[str], stays: Callable[[Flow], bool]) -> int:
    """How many connections were cut, of those that these addresses began."""
    count = 0
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for known, back in flows.found(kernel, NFCTAttrTuple(family=family, saddr=address)):
            proxied = back.proto == TCP and back.sport == PROXY_PORT
            end, port = (known.daddr, known.dport) if proxied else (back.saddr, back.sport)
            flow = Flow(
                ipaddress.ip_address(known.saddr), ipaddress.ip_address(end), known.proto, port or 0, proxied
            )
            if not stays(flow):
                flows.end(kernel, known)
                count += 1
    return count
