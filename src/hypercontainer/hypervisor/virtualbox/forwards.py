"""Ports of the host that lead to a guest, by VirtualBox's NAT, while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import NotFound, Unavailable
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.spec import UserNat, VMSpec
from hypercontainer.hypervisor.validate import check_forward
from hypercontainer.hypervisor.virtualbox import parsing
from hypercontainer.hypervisor.virtualbox.argv import guest_address, rule, rule_name
from hypercontainer.hypervisor.virtualbox.log import Log
from hypercontainer.hypervisor.virtualbox.machines import UUID
from hypercontainer.hypervisor.virtualbox.manage import Manage, Refused

# VirtualBox says that it will, and then whether it could.
APPLIED_S = 5.0
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def addresses(spec: VMSpec) -> dict[str, str]:
    """Of the guest, for ``VMRecord.foreign``: by NIC, where that is NAT."""
    nats = [(place, nic.backend) for place, nic in enumerate(spec.nics)]
    return {_key(place): guest_address(nat) for place, nat in nats if isinstance(nat, UserNat)}


def _key(nic: int) -> str:
    return f"nic{nic}"


def check_free(ports: Iterable[PortMapping]) -> None:
    """``Unavailable`` for one that somebody has: VirtualBox would start the VM without."""
    for port in ports:
        with socket.socket(socket.AF_INET, _KINDS[port.protocol]) as trial:
            if port.protocol == "tcp":
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as VirtualBox has it
            try:
                trial.bind((port.host_ip, port.host_port))
            except OSError as error:
                raise Unavailable(f"cannot forward {_where(port)}: {error.strerror}") from error


def _where(port: PortMapping) -> str:
    return f"{port.host_ip}:{port.host_port}"


async def add(manage: Manage, record: VMRecord, log: Log, port: PortMapping, nic: int) -> None:
    """See ``VM.add_forward``."""
    check_forward(port)
    guest = record.foreign.get(_key(nic))
    if guest is None:
        where = _where(port)
        raise Unavailable(f"cannot forward {where}: the VM has no network interface {nic} that is translated")
    check_free([port])
    before = len(log.told.forwards)
    await manage.run("controlvm", record.foreign[UUID], f"natpf{nic + 1}", rule(port, guest))
    applied: list[bool] = []

    def heard() -> bool:
        applied.extend(good for number, good in log.told.forwards[before:] if number == port.host_port)
        return bool(applied)

    with contextlib.suppress(TimeoutError):  # of another version, which has other words
        async with asyncio.timeout(APPLIED_S):
            await log.until(heard)
    if applied and not applied[0]:
        await remove(manage, record, port, nic)
        raise Unavailable(f"cannot forward {_where(port)}: {log.told.failed}")


async def remove(manage: Manage, record: VMRecord, port: PortMapping, nic: int) -> None:
    """See ``VM.remove_forward``."""
    check_forward(port)
    if _key(nic) not in record.foreign:
        raise Unavailable(f"no port is forwarded to network interface {nic}")
    order = ("controlvm", record.foreign[UUID], f"natpf{nic + 1}", "delete", rule_name(port))
    try:
        await manage.run(*order)
    except Refused as error:
        if error.refusal.code == parsing.INVALID:
            raise NotFound(f"{_where(port)} is not forwarded") from error
        raise
