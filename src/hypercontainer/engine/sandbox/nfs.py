"""A pod's volumes that NFS servers have: where these are by now, and what the guest's errors about them mean."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence

from hypercontainer.contract.networks import NONE, Join
from hypercontainer.contract.volumes import NamedVolume, NfsShare, Volume
from hypercontainer.engine.network.finding import address_of
from hypercontainer.engine.network.names import Names
from hypercontainer.engine.network.network import Network
from hypercontainer.engine.sandbox.contents import Brought
from hypercontainer.errors import Conflict, GuestError
from hypercontainer.semantics import nfs
from hypercontainer.volume.store import VolumeStore

_REACHED = "does it run, and do the pod's network and its policy let it be reached?"
_SAID = {
    errno.ECONNREFUSED: ("refuses connections at TCP port {port}", "does its NFS service run?"),
    errno.ENOENT: ("has no directory {path}", "of version 4, paths begin at its pseudo root"),
    errno.EPROTONOSUPPORT: ("speaks no version of NFS that is asked for", "nfsvers= says which"),
    errno.ENODEV: (
        "cannot be mounted: this kernel of the guest has no client of NFS",
        "hyperd's own kernels have one",
    ),
    errno.EINVAL: ("cannot be mounted with these options", "what its own log says, and docs/volumes.md"),
}
_SAID |= dict.fromkeys(
    (errno.EACCES, errno.EPERM),
    (
        "does not let this pod mount {path}",
        "its exports say who may: the host's address, of pods that go out by it, and from any port (`insecure`)",
    ),
)
_SAID |= dict.fromkeys(
    (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN),
    ("does not answer at {address}, TCP port {port}", _REACHED),
)


def share_of(volume: Volume, store: VolumeStore) -> NfsShare | None:
    """What server and directory it is, if it is one."""
    if isinstance(volume.source, NfsShare):
        return volume.source
    return store.nfs(volume.source.name) if isinstance(volume.source, NamedVolume) else None


def check(volumes: Iterable[Volume], store: VolumeStore, networks: Sequence[Join], what: str) -> None:
    """InvalidArgument for one that cannot be; Conflict in a pod without a network."""
    for volume in volumes:
        new = volume.source.nfs if isinstance(volume.source, NamedVolume) else None
        share = share_of(volume, store) or new
        for one in filter(None, (share, new)):
            nfs.check(one)
        if share is not None and [join.name for join in networks] in ([], [NONE]):
            raise _no_network(what, share)


async def addresses(
    volumes: Iterable[Brought], store: VolumeStore, network: Network, names: Names, what: str
) -> dict[str, str]:
    """Of their servers, by their names.  Raises what ``address_of`` does, and Conflict where the VM has no network."""
    found: dict[str, str] = {}
    for share in (share_of(brought.volume, store) for brought in volumes):
        if share is None or share.server in found:
            continue
        if not network.attachments:
            raise _no_network(what, share)
        found[share.server] = await address_of(share.server, network, names)
        nfs.check_address(share, found[share.server])
    return found


def client_name(pod: str) -> str:
    """Of the VM of the pod with this ID, to servers: the same each time it is started, so that one that knows it drops
    what a killed one has left, and no other VM's."""
    return f"hyper-{pod[:32]}"


def explain(error: GuestError, share: NfsShare, servers: Mapping[str, str]) -> None:
    said, hint = _SAID.get(error.errno, (f"cannot be mounted: {os.strerror(error.errno).lower()}", None))
    place = {"path": share.path, "port": nfs.port(share), "address": servers.get(share.server, share.server)}
    error.message = f"{nfs.words(share)}: NFS server {share.server} {said.format(**place)}"
    error.hint = hint


def _no_network(what: str, share: NfsShare) -> Conflict:
    return Conflict(
        f"{what} has no network, by which it could reach {nfs.words(share)}",
        hint="an NFS volume is mounted over its pod's own network",
    )
