"""A pod's disks that servers have, for the hypervisor: where each is by now, and what its server wants to know."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from hypercontainer.config import RbdCluster
from hypercontainer.contract.volumes import NetworkDisk, Volume
from hypercontainer.engine.sandbox import storage
from hypercontainer.engine.sandbox.contents import Brought
from hypercontainer.errors import InvalidArgument, NotFound, Unavailable
from hypercontainer.hypervisor.remote import RemoteDisk, Tls
from hypercontainer.hypervisor.remote_disks import CEPH_CONF, RECONNECT_S, SHARES_EACH
from hypercontainer.linux.users import User
from hypercontainer.volume import ceph, network
from hypercontainer.volume.network import Where

CONNECT_S = 10.0
# Of a monitor of which no port is said: of the second version of Ceph's protocol, and of the first.
_MONITOR_PORTS = (3300, 6789)


async def disks(volumes: Iterable[Brought], clusters: Mapping[str, RbdCluster]) -> tuple[RemoteDisk, ...]:
    """Those of servers that answer; ``clusters``: of Ceph, which the configuration has.  Raises ``Unavailable``, and
    what ``network.credentials`` does."""
    found = []
    for volume, source, asked_by in ((one.volume, one.volume.source, one.asked_by) for one in volumes):
        if isinstance(source, NetworkDisk):
            user = storage.asking(asked_by)
            found.append(await storage.HOST_PATHS.run(partial(_disk, volume, source, user, clusters)))
    return tuple(found)


def as_shares(disks: Sequence[RemoteDisk]) -> int:
    """How many shares' memory they take."""
    return SHARES_EACH * len(disks)


def _disk(
    volume: Volume, source: NetworkDisk, user: User | None, clusters: Mapping[str, RbdCluster]
) -> RemoteDisk:
    where = network.where(source)
    if where.protocol == network.RBD:
        return _image(volume, where, *_cluster(where, source, user, clusters))
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


# ----------------------------------------------------------------------------------------------- of Ceph


def _cluster(
    where: Where, source: NetworkDisk, user: User | None, clusters: Mapping[str, RbdCluster]
) -> tuple[RbdCluster, User | None]:
    """And with whose rights its keyring is read: the configuration's is hyperd's own."""
    if source.password_file:
        return RbdCluster(tuple(where.host.split(",")), where.user, Path(source.password_file)), user
    if where.host not in clusters:
        raise NotFound(
            f"disk {where.words}: hyperd knows no Ceph cluster {where.host}",
            hint=f"[rbd.{where.host}] of its configuration says monitors, user and keyring",
        )
    return clusters[where.host], None


def _image(volume: Volume, where: Where, cluster: RbdCluster, reader: User | None) -> RemoteDisk:
    keyring = str(cluster.keyring)
    key = ceph.key(network.read_secret(keyring, reader), cluster.user)
    if key is None:
        raise InvalidArgument(
            f"disk {where.words}: {keyring} has no key of client.{cluster.user}",
            hint=f"`ceph auth get client.{cluster.user} -o {keyring}` writes it",
        )
    monitors = _monitors(where, cluster.monitors)
    configuration = ceph.configuration(monitors, key, RECONNECT_S)
    return RemoteDisk(
        storage.serial(volume),
        volume.read_only,
        where.protocol,
        where.words,
        name=where.name,
        pool=where.pool,
        namespace=where.namespace,
        snapshot=where.snapshot,
        user=cluster.user,
        files=((CEPH_CONF, configuration),),
    )


def _monitors(where: Where, places: Sequence[str]) -> list[str]:
    """In numbers, all whose names are known.  One of them answers, so that it is said in words where none does."""
    found: list[str] = []
    answered, problem = False, ""
    for place in places:
        try:
            parts = urlsplit(f"//{place}")
            host, port = parts.hostname or "", parts.port
            for known in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                address = f"[{known[4][0]}]" if known[0] == socket.AF_INET6 else str(known[4][0])
                found.append(address if port is None else f"{address}:{port}")
            if not answered:
                _first_answer(host, _MONITOR_PORTS if port is None else (port,), CONNECT_S / len(places))
                answered = True
        except (OSError, ValueError) as error:
            problem = f"{place}: {getattr(error, 'strerror', None) or error}"
    if not answered:
        raise Unavailable(
            f"disk {where.words}: no monitor of its cluster can be reached: {problem}",
            hint="do they run, and are these their places?",
        )
    return found


def _first_answer(host: str, ports: Sequence[int], patience_s: float) -> None:
    for port in ports:
        try:
            return socket.create_connection((host, port), timeout=patience_s / len(ports)).close()
        except OSError as error:
            problem = error
    raise problem
