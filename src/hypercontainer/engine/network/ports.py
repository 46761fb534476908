"""Published ports: checked, chosen, compared, named."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable, Sequence

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Remedy

PORT_MAX = 65535


def check(ports: Iterable[PortMapping]) -> None:
    """Raises InvalidArgument for what no VM can have."""
    for port in ports:
        if not 1 <= port.container_port <= PORT_MAX or not 0 <= port.host_port <= PORT_MAX:
            raise InvalidArgument(
                f"{port.host_port}:{port.container_port} is out of range",
                field="ports",
                takes=f"1 to {PORT_MAX}",
            )
        if port.protocol not in ("tcp", "udp"):
            raise InvalidArgument(f"{port.protocol!r} is no protocol", field="ports", takes="tcp or udp")
        try:
            ipaddress.ip_address(port.host_ip or "0.0.0.0")  # noqa: S104 - what "" stands for
        except ValueError:
            raise InvalidArgument(f"{port.host_ip!r} is no address of this machine", field="ports") from None


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
    """Whether ``wish`` means ``port``: a host port of 0 stands for whichever it got."""
    return (
        wish.container_port == port.container_port
        and wish.protocol == port.protocol
        and (wish.host_port == 0 or wish.host_port == port.host_port)
    )


def words(port: PortMapping) -> str:
    host = f"{port.host_port}:" if port.host_port else ""
    return f"port {host}{port.container_port}/{port.protocol}"


def choose(ports: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    """The same mappings with every port of the host chosen and, at this moment, free.

    A hypervisor binds them itself a moment later; a port that is lost in between fails the launch by name.
    """
    held: list[socket.socket] = []
    try:
        return tuple(_chosen(port, held) for port in ports)
    finally:
        for holder in held:
            holder.close()


def _chosen(port: PortMapping, held: list[socket.socket]) -> PortMapping:
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[port.protocol]
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    holder = socket.socket(family, kind)
    held.append(holder)
    if port.protocol == "tcp":
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((port.host_ip or "0.0.0.0", port.host_port))  # noqa: S104 - what the user asked for
    except OSError as error:
        raise _refused(port, error) from error
    number: int = holder.getsockname()[1]
    return PortMapping(port.container_port, number, port.host_ip, port.protocol)


def _refused(port: PortMapping, error: OSError) -> Exception:
    where = f"{port.host_ip}:{port.host_port}/{port.protocol}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"port {where} is already allocated", hint="choose another port of the host")
    if error.errno == errno.EACCES:
        return InvalidArgument(f"port {where} needs root", hint="choose one from 1024 on")
    return InvalidArgument(
        f"cannot publish on {where}: {error.strerror}", hint="is the address one of this machine's?"
    )
