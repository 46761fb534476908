"""Published ports: checked, chosen, compared, named."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from hypercontainer.contract.networks import CNI, HYPERVISOR, NONE, USER, Join
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.state import Attachment
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, Remedy
from hypercontainer.network.parts import Published

PORT_MAX = 65535
OPEN_MAX = 64  # of the host's loopback address, to one pod
ANY, ANY6 = "0.0.0.0", "::"  # noqa: S104 - Docker's default, and what "" stands for

Taken = dict[
    tuple[int, str], set[str]
]  # the addresses at which a port of the host is somebody's, by it and its protocol


def check(ports: Iterable[PortMapping]) -> None:
    """Raises InvalidArgument for what no VM can have."""
    ports = list(ports)
    for host in {port.host_ip or ANY for port in ports}:
        _check_address(host)
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


def _check_address(text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address.scope_id):
            raise ValueError
        if address.version == 6 and address.is_loopback:
            raise InvalidArgument(
                f"{text}: of IPv6 the loopback address cannot be published", field="ports", takes="127.0.0.1"
            )
    except ValueError:
        raise InvalidArgument(f"{text[:60]!r} is no address of this machine", field="ports") from None


def check_reach(ports: Iterable[PortMapping], joins: Sequence[Join]) -> None:
    """Raises InvalidArgument for what is published on an address that a pod's network does not know."""
    for port in ports:
        if [join.name for join in joins] == [HYPERVISOR]:
            raise InvalidArgument(
                f"in the network {HYPERVISOR!r} a pod is reached by its own address, and publishes nothing",
                field="ports",
                takes="no ports",
            )
        if ":" in port.host_ip and [join.name for join in joins] == [USER]:
            raise not_of_ipv6(port, "of the network 'user' ports are published")


def not_of_ipv6(port: PortMapping, where: str) -> InvalidArgument:
    return InvalidArgument(
        f"{port.host_ip} is an address of IPv6, and {where} on IPv4 alone",
        field="ports",
        takes=f"an address of IPv4, or {ANY} for all of this machine's",
    )


def check_open(ports: Sequence[int], joins: Sequence[Join]) -> None:
    """Raises InvalidArgument for what of the host's loopback address no pod is let to, or not from these networks."""
    if len(ports) > OPEN_MAX or not all(0 < port <= PORT_MAX for port in ports):
        said = ", ".join(map(str, ports))[:60]
        limits = f"1 to {PORT_MAX}, at most {OPEN_MAX} of them"
        raise InvalidArgument(f"{said}: these cannot be opened", field="host_loopback", takes=limits)
    if ports and (joins[0].name in (USER, NONE, HYPERVISOR) or joins[0].name.startswith(CNI)):
        raise InvalidArgument(
            f"in the network {joins[0].name!r} nothing of the host's loopback address is reached",
            field="host_loopback",
            hint="a network that is made has a way there",
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
        taken: Taken = {}
        for port in ports:
            one = _chosen(port, taken, held)
            taken.setdefault((one.host_port, one.protocol), set()).add(one.host_ip or ANY)
            chosen.append(one)
        return tuple(chosen)
    finally:
        for holder in held:
            holder.close()


def led(attachments: Sequence[Attachment], ports: Sequence[PortMapping]) -> tuple[Published, ...]:
    """Where a pod's ports lead to: its addresses in the network with the way out; one that names no address of the
    host, to those of both versions of IP."""
    if not attachments:
        return ()
    own = {4: attachments[0].host4, 6: attachments[0].host6}
    wanted = {host: _by_version(host) for host in {port.host_ip or ANY for port in ports}}
    return tuple(
        Published(port.protocol, text, port.host_port, own[version], port.container_port)
        for port in ports
        for version, text in wanted[port.host_ip or ANY]
        if own[version]
    )


def _by_version(text: str) -> list[tuple[int, str]]:
    """At which addresses of the host it is asked for."""
    host = ipaddress.ip_address(text)
    return [(4, ANY), (6, ANY6)] if str(host) == ANY else [(host.version, str(host))]


def bound(port: PortMapping, *options: int) -> socket.socket:
    """To a chosen port, with these of SOL_SOCKET set.  Raises Conflict or InvalidArgument, which name it."""
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[port.protocol]
    made = socket.socket(socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET, kind)
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind((port.host_ip or ANY, port.host_port))
    except OSError as error:
        made.close()
        raise _refused(port, error.errno or 0) from error
    return made


def _chosen(port: PortMapping, taken: Taken, held: list[socket.socket]) -> PortMapping:
    """Of a range the first that is free, and not ``taken``."""
    for number in (range_ := _host_ports(port)):
        one = replace(port, host_port=number, host_port_last=0) if port.host_port_last else port
        try:
            return _bound(one, taken, held)
        except Conflict as error:
            if number == range_[-1]:
                raise _refused(port, errno.EADDRINUSE) from error
    raise AssertionError(port)


def _bound(port: PortMapping, taken: Taken, held: list[socket.socket]) -> PortMapping:
    # The kernel lets two sockets that may take an address over have it at once, as long as neither listens.
    if _meets(port, taken):
        raise _refused(port, errno.EADDRINUSE)
    holder = bound(port, *([socket.SO_REUSEADDR] if port.protocol == "tcp" else []))
    held.append(holder)
    return port if port.host_port else replace(port, host_port=holder.getsockname()[1])


def _meets(port: PortMapping, taken: Taken) -> bool:
    """Whether it wants the same port of the host as another."""
    theirs, own = taken.get((port.host_port, port.protocol), set()), port.host_ip or ANY
    return bool(theirs) and (own == ANY or not theirs.isdisjoint((own, ANY)))


def _refused(port: PortMapping, number: int) -> HyperError:
    """``number``: the errno."""
    numbers = f"{port.host_port}-{port.host_port_last}" if port.host_port_last else str(port.host_port)
    where = f"{port.host_ip}:{numbers}/{port.protocol}"
    if number == errno.EADDRINUSE:
        return Conflict(f"port {where} is already allocated", hint="choose another port of the host")
    if number == errno.EACCES:
        return InvalidArgument(f"port {where} needs root", hint="choose one from 1024 on")
    return InvalidArgument(
        f"cannot publish on {where}: {os.strerror(number)}", hint="is the address one of this machine's?"
    )
