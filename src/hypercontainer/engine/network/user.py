"""What a VM gets that must be its own: a user ID for its QEMU, a MAC address, ports on the host."""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import socket
from collections.abc import Collection, Iterable

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import Conflict, InvalidArgument, Unavailable

INTERFACE = "eth0"
GUEST_ADDRESS = "10.0.2.15"
GUEST_PREFIX = 24
GATEWAY = "10.0.2.2"
NAME_SERVER = "10.0.2.3"
PORT_MAX = 65535
MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")  # a unicast one


def free_uid(base: int, count: int, taken: Collection[int]) -> int:
    """One that no VM of ours has, from a random place on: other hyperds take theirs from the same range."""
    start = secrets.randbelow(count)
    for offset in range(count):
        uid = base + (start + offset) % count
        if uid not in taken:
            return uid
    raise Unavailable(
        f"all {count} user IDs from {base} on are in use by VMs", hint="raise uid_count in the configuration"
    )


def new_mac() -> str:
    """A unicast, locally administered address."""
    return "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))


def check(ports: Iterable[PortMapping], mac: str | None) -> None:
    """Raises InvalidArgument for what no VM can have."""
    for port in ports:
        if not 1 <= port.container_port <= PORT_MAX or not 0 <= port.host_port <= PORT_MAX:
            raise InvalidArgument(
                f"--publish: {port.host_port}:{port.container_port} is out of range", hint=f"1 to {PORT_MAX}"
            )
        if port.protocol not in ("tcp", "udp"):
            raise InvalidArgument(f"--publish: {port.protocol!r} is no protocol", hint="tcp or udp")
        try:
            ipaddress.ip_address(port.host_ip or "0.0.0.0")  # noqa: S104 - what "" stands for
        except ValueError:
            raise InvalidArgument(f"--publish: {port.host_ip!r} is no address of this machine") from None
    if mac is not None and not MAC.fullmatch(mac):
        raise InvalidArgument(
            f"--mac-address: {mac!r} is no MAC address of one device", hint="as 02:42:ac:11:00:02"
        )


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def interface(mac: str) -> Interface:
    """The guest's one interface, with all that it has in every VM."""
    return Interface(
        mac=mac_bytes(mac),
        name=INTERFACE,
        addresses=(f"{GUEST_ADDRESS}/{GUEST_PREFIX}",),
        gateways=(GATEWAY,),
    )


def publish(ports: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    """The same mappings with every port on the host chosen and, at this moment, free.

    QEMU binds them itself a moment later; a port that is lost in between fails the launch by name.
    """
    held: list[socket.socket] = []
    chosen: list[PortMapping] = []
    try:
        for port in ports:
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
            chosen.append(PortMapping(port.container_port, number, port.host_ip, port.protocol))
    finally:
        for holder in held:
            holder.close()
    return tuple(chosen)


def _refused(port: PortMapping, error: OSError) -> Exception:
    where = f"{port.host_ip}:{port.host_port}/{port.protocol}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"port {where} is already allocated", hint="choose another with -p HOST:CONTAINER")
    if error.errno == errno.EACCES:
        return InvalidArgument(f"port {where} needs root", hint="choose one from 1024 on")
    return InvalidArgument(
        f"cannot publish on {where}: {error.strerror}", hint="is the address one of this machine's?"
    )
