"""Port mappings: single ports, ranges of one length, or a range of the host's for one port.

Of pods, and in the old form of containers."""

from __future__ import annotations

from hypercontainer.contract import ports
from hypercontainer.contract.spec import PortMapping
from hypercontainer.podfile.fields import Table
from hypercontainer.podfile.tree import shown

MAX_PORTS = 4096


class Ports:
    """Collects, and refuses what is asked for twice."""

    def __init__(self) -> None:
        self._found: list[PortMapping] = []
        self._taken: set[tuple[str, int]] = set()

    @property
    def all(self) -> tuple[PortMapping, ...]:
        return tuple(self._found)

    def add_pod(self, pod: Table) -> None:
        for table in pod.tables("portmappings"):
            self._add(table)
            table.done()

    def add_container(self, container: Table) -> None:
        """``ports``: what stood in containers before ``portmappings`` did."""
        tables = container.tables("ports")
        if tables:
            container.warn("ports", "deprecated: taken as the pod's portmappings")
        for table in tables:
            table.text("name")
            if table.number("servicePort", 0, 65535):
                table.warn("servicePort", "ignored")
            self._add(table)
            table.done()

    def _add(self, table: Table) -> None:
        protocol = table.text("protocol", "tcp").lower()
        if protocol not in ports.PROTOCOLS:
            raise table.error("protocol", f"{shown(protocol)} is not known", "tcp or udp")
        table.needed("containerPort")
        inside = _ports(table, "containerPort")
        outside: range | None = None
        if table.text("hostPort", "0").strip() != "0":
            outside = _ports(table, "hostPort")
            if len(outside) != len(inside) and len(inside) > 1:
                raise table.error(
                    "hostPort",
                    f"{len(outside)} ports for {len(inside)} in the container",
                    "ranges of one length, or a range for one port",
                )
        if len(self._found) + len(inside) > MAX_PORTS:
            raise table.error("", f"more than {MAX_PORTS} ports")
        for number, port in enumerate(inside):
            host_port = outside[number] if outside else 0
            if host_port and (protocol, host_port) in self._taken:
                raise table.error("hostPort", f"{host_port}/{protocol} is taken by another mapping")
            if outside is None or len(outside) == len(inside):
                self._taken.add((protocol, host_port))
            last = outside[-1] if outside and len(outside) > len(inside) else 0
            self._found.append(PortMapping(port, host_port, protocol=protocol, host_port_last=last))


def _ports(table: Table, key: str) -> range:
    text = table.text(key)
    try:
        return ports.numbers("-".join(part.strip() for part in text.split("-")))
    except ValueError as error:
        raise table.error(key, f"{shown(text)} {error}", 'a port, or a range such as "8000-8080"') from None
