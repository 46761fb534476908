"""Interfaces and services: which networks a pod is in, and what it alone finds at addresses of its choice."""

from __future__ import annotations

import ipaddress

from hypercontainer.contract import ports
from hypercontainer.contract.networks import DEFAULT, PEERS_MAX, SERVICES_MAX, Join, Peer, PodService
from hypercontainer.podfile.fields import Table
from hypercontainer.podfile.tree import shown

MAX_INTERFACES = 8


def joins(pod: Table) -> tuple[Join, ...]:
    """(): the podfile says nothing of them.  A network's own gateway and MTU count."""
    tables = pod.tables("interfaces")
    if len(tables) > MAX_INTERFACES:
        raise pod.error("interfaces", f"a pod has {MAX_INTERFACES} at most")
    return tuple(_join(table, place, len(tables)) for place, table in enumerate(tables))


def _join(table: Table, place: int, count: int) -> Join:
    name = table.text("ifname")
    if name not in ("", f"eth{place}"):
        table.warn("ifname", f"ignored: it is eth{place}")
    for key in ("mtu", "gateway", "tap"):
        if table.said(key):
            table.warn(key, "ignored: the network's own counts")
    text = table.text("ip").partition("/")[0]
    made = Join(
        name=table.text("bridge", DEFAULT),
        ip=str(_address(table, "ip", text)) if text else "",
        mac_address=table.text("mac"),
        priority=count - place,  # the first has the way out
    )
    table.done()
    return made


def services(pod: Table) -> tuple[PodService, ...]:
    tables = pod.tables("services")
    if len(tables) > SERVICES_MAX:
        raise pod.error("services", f"a pod has {SERVICES_MAX} at most")
    found: dict[tuple[str, str, int], PodService] = {}
    for table in tables:
        made = _service(table)
        if found.setdefault((made.protocol, made.ip, made.port), made) is not made:
            raise table.error(
                "servicePort", f"{made.ip}:{made.port}/{made.protocol} is another service's too"
            )
    return tuple(found.values())


def _service(table: Table) -> PodService:
    protocol = table.text("protocol", "tcp").lower()
    if protocol not in ports.PROTOCOLS:
        raise table.error("protocol", f"{shown(protocol)} is not known", "tcp or udp")
    hosts = table.tables("hosts")
    if not 0 < len(hosts) <= PEERS_MAX:
        raise table.error("hosts", f"1 to {PEERS_MAX} stand behind a service")
    made = PodService(
        ip=_address(table, "serviceIP", table.needed("serviceIP")),
        port=_port(table, "servicePort"),
        protocol=protocol,
        peers=tuple(
            Peer(_address(each, "hostIP", each.needed("hostIP")), _port(each, "hostPort")) for each in hosts
        ),
    )
    for each in (table, *hosts):
        each.done()
    return made


def _port(table: Table, key: str) -> int:
    table.needed(key)
    return table.number(key, 1, 65535)


def _address(table: Table, key: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise table.error(key, f"{shown(text)} is no address of IPv4") from None
