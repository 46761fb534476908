"""Published ports: checked, chosen, compared, named."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Remedy

PORT_MAX = 65535
ANY = "0.0.0.0"  # noqa: S104 - Docker's default, and what "" stands for
IP_VERSION = 4  # of what the hypervisor's NAT forwards


def check(ports: Iterable[PortMapping]) -> None:
    """Raises InvalidArgument for what no VM can have."""
    for port in ports:
        if not 1 <= port.container_port <= PORT_MAX or not 0 <= port.host_port <= PORT_MAX:
            raise InvalidArgument(
                f"{port.host_port}:{port.container_port} is out of range",
                field="ports",
                takes=f"1 to {PORT_MAX}",
            )
        if port.host_port_last and not 0 < port.host_port <= port.host_port_last <= PORT_MAX:
            raise InvalidArgument(
                f"{port.host_port}-{port.host_port_last} is no range", field="ports", takes=f"1 to {PORT_MAX}"
            )
        if port.protocol not in ("tcp", "udp"):
            raise InvalidArgument(f"{port.protocol!r} is no protocol", field="ports", takes="tcp or udp")
        _check_address(port.host_ip or ANY)


def _check_address(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(f"{text[:60]!r} is no address of this machine", field="ports") from None
    if address.version != IP_VERSION:
        raise InvalidArgument(
            f"{text} is an address of IPv{address.version}, and VMs' ports are published on IPv{IP_VERSION} alone",
            field="ports",
            takes=f"an address of IPv{IP_VERSION}, or {ANY} for all of this machine's",
        )


def check_new(ports: Iterable[PortMapping], taken: Sequence[PortMapping]) -> None:
    for port in ports:
        if any(same(port, other) for other in taken):
            raise Conflict(f"{words(port)} is published already")


def check_there(ports: Iterable[PortMapping], there: Sequence[PortMapping], pod: str) -> None:
    for port in ports:
        if not any(same(port, other) for other in there):
            raise NotFound(
                f"{words(port)} is not published",
                remedies=(Remedy("pods.ports", pod, aim="shows what is"),),
            )


def split(
    ports: Sequence[PortMapping], wishes: Sequence[PortMapping]
) -> tuple[tuple[PortMapping, ...], tuple[PortMapping, ...]]:
    """(those that are meant by ``wishes``, the others)."""
    meant = tuple(port for port in ports if any(same(wish, port) for wish in wishes))
    return meant, tuple(port for port in ports if port not in meant)


def same(wish: PortMapping, port: PortMapping) -> bool:
    """Whether ``wish`` means ``port``: a host port of 0 stands for whichever it got, a range for one in it."""
    if (wish.container_port, wish.protocol) != (port.container_port, port.protocol):
        return False
    ours, theirs = _host_ports(wish), _host_ports(port)
    return wish.host_port == 0 or (ours.start < theirs.stop and theirs.start < ours.stop)


def _host_ports(port: PortMapping) -> range:
    return range(port.host_port, max(port.host_port, port.host_port_last) + 1)


def words(port: PortMapping) -> str:
    host = f"{port.host_port}:" if port.host_port else ""
    if port.host_port_last:
        host = f"{port.host_port}-{port.host_port_last}:"
    return f"port {host}{port.container_port}/{port.protocol}"


def choose(ports: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    """The same mappings with every port of the host chosen and, at this moment, free.

    A hypervisor binds them itself a moment later; a port that is lost in between fails the launch by name.
    """
    held: list[socket.socket] = []
    try:
        chosen: list[PortMapping] = []
        for port in ports:
            chosen.append(_chosen(port, chosen, held))
        return tuple(chosen)
    finally:
        for holder in held:
            holder.close()


def _chosen(port: PortMapping, others: Sequence[PortMapping], held: list[socket.socket]) -> PortMapping:
    """Of a range the first that is free, and none of ``others``."""
    for number in (range_ := _host_ports(port)):
        try:
            return _bound(replace(port, host_port=number, host_port_last=0), others, held)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or number == range_[-1]:
                raise _refused(port, error) from error
    raise AssertionError(port)


def _bound(port: PortMapping, others: Sequence[PortMapping], held: list[socket.socket]) -> PortMapping:
    # The kernel lets two sockets that may take an address over have it at once, as long as neither listens.
    if any(_meet(port, other) for other in others):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[port.protocol]
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    holder = socket.socket(family, kind)
    held.append(holder)
    if port.protocol == "tcp":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((port.host_ip or ANY, port.host_port))
    return replace(port, host_port=holder.getsockname()[1])


def _meet(one: PortMapping, other: PortMapping) -> bool:
    """Whether both want the same port of the host."""
    addresses = {one.host_ip or ANY, other.host_ip or ANY}
    return (one.host_port, one.protocol) == (other.host_port, other.protocol) and (
        len(addresses) == 1 or ANY in addresses
    )


def _refused(port: PortMapping, error: OSError) -> Exception:
    numbers = f"{port.host_port}-{port.host_port_last}" if port.host_port_last else str(port.host_port)
    where = f"{port.host_ip}:{numbers}/{port.protocol}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"port {where} is already allocated", hint="choose another port of the host")
    if error.errno == errno.EACCES:
        return InvalidArgument(f"port {where} needs root", hint="choose one from 1024 on")
    return InvalidArgument(
        f"cannot publish on {where}: {error.strerror}", hint="is the address one of this machine's?"
    )
