"""Directories of NFS servers: what the guest's kernel is told, what is refused, and what errors say."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from hypercontainer.agent.operations import FileSystem
from hypercontainer.contract.networks import Join
from hypercontainer.contract.volumes import NamedVolume, NfsShare, Volume
from hypercontainer.engine.network.finding import address_of
from hypercontainer.engine.network.names import Names
from hypercontainer.engine.network.user import UserNetwork
from hypercontainer.engine.sandbox import nfs as volumes
from hypercontainer.engine.sandbox.contents import Brought
from hypercontainer.errors import Conflict, GuestError, InvalidArgument, NotFound, NotSupported
from hypercontainer.semantics import nfs
from hypercontainer.volume.store import VolumeStore

MANY = "rsize=65536,wsize=65536,timeo=50,retrans=2,nconnect=4,actimeo=1,lookupcache=none,sec=sys,nocto"
SAFE = 6  # nosuid, nodev
USER = UserNetwork("02:00:00:00:00:02")


def told(options: str, server: str = "nas", address: str = "10.0.0.1") -> FileSystem:
    share = NfsShare(server, "/srv/a b", options)
    nfs.check(share)
    return nfs.mount(share, address, "vm-1")


def test_versions_are_tried_from_the_newest_on() -> None:
    plan = told("")
    assert (plan.type, plan.source, plan.flags, plan.hostname) == ("nfs", "nas:/srv/a b", SAFE, "vm-1")
    assert (plan.data, *plan.others) == (
        "vers=4.2,addr=10.0.0.1",
        "vers=4.1,addr=10.0.0.1",
        "vers=4.0,addr=10.0.0.1",
        "vers=3,addr=10.0.0.1,nolock,mountproto=tcp",
    )


@pytest.mark.parametrize(
    ("options", "data"),
    [
        ("nfsvers=4.1", ["vers=4.1,addr=10.0.0.1"]),
        ("vers=4,rw", ["vers=4.2,addr=10.0.0.1", "vers=4.1,addr=10.0.0.1", "vers=4.0,addr=10.0.0.1"]),
        (
            "vers=3,soft,port=2050,mountport=20048",
            ["vers=3,addr=10.0.0.1,soft,port=2050,mountport=20048,nolock,mountproto=tcp"],
        ),
        ("nfsvers=3,local_lock=flock", ["vers=3,addr=10.0.0.1,local_lock=flock,nolock,mountproto=tcp"]),
        (f"nfsvers=4.2,{MANY}", [f"vers=4.2,addr=10.0.0.1,{MANY}"]),
    ],
)
def test_options(options: str, data: list[str]) -> None:
    plan = told(options)
    assert [plan.data, *plan.others] == data


def test_flags_and_addresses() -> None:
    plan = told("ro,noatime,suid,nfsvers=4.2", "fd00::1", "fd00::1")
    assert (plan.source, plan.read_only, plan.flags) == ("[fd00::1]:/srv/a b", True, SAFE | 1024)
    assert plan.data == "vers=4.2,addr=fd00::1"


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ("nfsvers=2", InvalidArgument, "version 2 of NFS"),
        ("nfsvers=3,vers=4", InvalidArgument, "version 3, 4 of NFS"),
        ("rsize=big", InvalidArgument, "option 'rsize=big'"),
        ("lookupcache=some", InvalidArgument, "option 'lookupcache=some'"),
        ("proto=udp", NotSupported, "'proto=udp' here: the guest's kernel has TCP alone"),
        ("sec=krb5", NotSupported, "'sec=krb5' here: there is no Kerberos in a guest"),
        ("lock", NotSupported, "no rpc.statd in it"),
        ("retry=5", NotSupported, "'retry=5' here: a container waits"),
        ("addr=10.0.0.2", NotSupported, "'addr=10.0.0.2'"),
        ("mountaddr=10.0.0.2", NotSupported, "'mountaddr=10.0.0.2'"),
        ("fscache", NotSupported, "'fscache'"),
    ],
)
def test_what_is_refused(options: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match="nas:/srv") as caught:
        told(options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "server", ["", "a b", "10.0.0.1,soft", "-x", "127.0.0.1", "::1", "0.0.0.0", "fe80::1%eth0"]
)
def test_servers_that_are_none(server: str) -> None:
    with pytest.raises(InvalidArgument, match=f"NFS server {server[:5]}|NFS server '"):
        nfs.check(NfsShare(server, "/"))


@pytest.mark.parametrize("path", ["", "a", "/a\nb", "/\0", "/" + "a" * 1024])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(InvalidArgument, match="no path"):
        nfs.check(NfsShare("nas", path))


# ------------------------------------------------------------------------------------- names and errors


class KnownNames:
    def lookup(self, asker: str, name: str) -> Sequence[str] | None:
        return ["fd00::7", "10.89.0.7"] if (asker, name) == ("10.0.2.15", "nas") else None


def found(name: str, names: Any = None) -> str:
    return asyncio.run(address_of(name, USER, cast("Names", names or KnownNames())))


def test_where_servers_are() -> None:
    assert found("10.1.2.3") == "10.1.2.3"
    assert found("host-gateway") == "10.0.2.2"
    assert found("NAS") == "10.89.0.7"
    with pytest.raises(NotFound, match=r"server nowhere\.invalid: there is no such name"):
        found("nowhere.invalid")


def store_at(place: Path) -> VolumeStore:
    return VolumeStore(place / "volumes", lambda path, size: path.touch())


def test_a_volume_that_is_one(tmp_path: Path) -> None:
    store, share = store_at(tmp_path), NfsShare("nas", "/srv", "ro")
    made = store.create("media", labels={"a": "b"}, nfs=share)
    assert (made.kind, made.size_bytes, made.used_bytes, made.disk, made.nfs) == ("nfs", 0, 0, "", share)
    assert store_at(tmp_path).inspect("media") == made
    assert store.nfs("media") == share
    assert store.nfs("other") is None
    volume = Volume("v", NamedVolume("media"))
    assert volumes.share_of(volume, store) == share
    with pytest.raises(Conflict, match="container c has no network, by which it could reach nas:/srv"):
        volumes.check([volume], store, [Join("none")], "container c")
    volumes.check([volume], store, [Join("user")], "container c")
    with pytest.raises(InvalidArgument, match="volume n is an NFS server's"):
        store.create("n", 1 << 30, nfs=share)
    store.remove("media")
    assert store.find() == []


def test_addresses_of_a_pods_servers(tmp_path: Path) -> None:
    store, names = store_at(tmp_path), cast("Names", KnownNames())
    brought = [Brought(Volume(name, NfsShare("nas", "/srv")), None) for name in "ab"]
    looked = volumes.addresses(brought, store, USER, names, "pod p")
    assert asyncio.run(looked) == {"nas": "10.89.0.7"}
    local = [Brought(Volume("a", NfsShare("localhost", "/srv")), None)]
    with pytest.raises(InvalidArgument, match="is the VM itself"):
        asyncio.run(volumes.addresses(local, store, USER, names, "pod p"))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ETIMEDOUT, "nas:/srv: NFS server nas does not answer at 10.0.0.1, TCP port 2050"),
        (errno.ECONNREFUSED, "refuses connections at TCP port 2050"),
        (errno.ENOENT, "has no directory /srv"),
        (errno.EACCES, "does not let this pod mount /srv"),
        (errno.ENODEV, "this kernel of the guest has no client of NFS"),
        (errno.EPROTONOSUPPORT, "speaks no version of NFS that is asked for"),
        (errno.ESTALE, "cannot be mounted: stale file handle"),
    ],
)
def test_what_a_guests_error_means(number: int, said: str) -> None:
    error = GuestError("mount", errno=number, operation="VOLUME_ADD")
    volumes.explain(error, NfsShare("nas", "/srv", "port=2050"), {"nas": "10.0.0.1"})
    assert said in error.message
