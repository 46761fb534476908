"""A pod's disks that servers have, for the hypervisor: where each is by now, and what its server wants to know."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from hypercontainer.contract.volumes import NetworkDisk, Volume
from hypercontainer.engine.sandbox import storage
from hypercontainer.engine.sandbox.contents import Brought
from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.remote import RemoteDisk, Tls
from hypercontainer.hypervisor.remote_disks import SHARES_EACH
from hypercontainer.linux.users import User
from hypercontainer.volume import network
from hypercontainer.volume.network import Where

CONNECT_S = 10.0


async def disks(volumes: Iterable[Brought]) -> tuple[RemoteDisk, ...]:
    """Those of servers that answer.  Raises ``Unavailable``, and what ``network.credentials`` does."""
    found = []
    for volume, source, asked_by in ((one.volume, one.volume.source, one.asked_by) for one in volumes):
        if isinstance(source, NetworkDisk):
            user = storage.asking(asked_by)
            found.append(await storage.HOST_PATHS.run(partial(_disk, volume, source, user)))
    return tuple(found)


def as_shares(disks: Sequence[RemoteDisk]) -> int:
    """How many shares' memory they take."""
    return SHARES_EACH * len(disks)


def _disk(volume: Volume, source: NetworkDisk, user: User | None) -> RemoteDisk:
    where = network.where(source)
    files = network.credentials(source, user)
    tls = None
    if where.tls:
        by_certificate = (source.tls_hostname or where.host) if source.tls_certificates else ""
        tls = Tls(by_certificate, "" if source.tls_certificates else where.user)
    return RemoteDisk(
        storage.serial(volume),
        volume.read_only,
        where.protocol,
        where.words,
        address="" if where.socket else _address(where),
        port=where.port,
        socket=Path(where.socket) if where.socket else None,
        owner=user,
        name=where.name,
        lun=where.lun,
        user=where.user,
        tls=tls,
        files=files,
    )


def _address(where: Where) -> str:
    """The one of the host's by which the server answers; who connects to it knows no names."""
    try:
        with socket.create_connection((where.host, where.port), timeout=CONNECT_S) as connection:
            return str(connection.getpeername()[0])
    except OSError as error:
        raise Unavailable(
            f"disk {where.words}: cannot be reached: {error.strerror or error}", hint="does its server run?"
        ) from error
