"""Files and volumes of a podfile: defined once for the pod, named by its containers, or defined where they are used.

A file is fetched when the first container names it, once, and never for one that nobody names.
"""

from __future__ import annotations

import base64
import re
from typing import Protocol
from urllib.parse import urlsplit

from hypercontainer.contract.volumes import (
    DiskImage,
    EmptyDir,
    HostPath,
    ImageVolume,
    InjectedFile,
    NetworkDisk,
    NfsShare,
    Source,
    Volume,
    VolumeMount,
)
from hypercontainer.errors import HyperError, NotFound, Unavailable
from hypercontainer.podfile.fields import Table
from hypercontainer.podfile.tree import shown

NEW_VOLUME_BYTES = 10 << 30
# Of all files that containers name, each time they do: a guest takes a container with its files in one message.
MAX_CONTENT_BYTES = 3 << 20
DEFAULT_PERM = "0755"
SCHEMES = ("file", "http", "https")
_PERM = re.compile(r"0[0-7]{3}")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2,3})?")
_DISKS = ("raw", "qcow2", "vdi", "vmdk")
_NETWORK = ("nbd", "iscsi", "rbd")
_NFS = ("nas", "nfs")  # the reference's word, and what it is
_KINDS = f"{', '.join((*_DISKS, *_NETWORK))}, vfs, nas"
CLUSTER = "ceph"  # as Ceph itself calls the only one
_CACHES = ("off", "none", "directsync", "writeback", "unsafe", "writethrough")


class Fetch(Protocol):
    """The bytes at a ``file:``, ``http:`` or ``https:`` URI; a HyperError where they are not to be had."""

    def __call__(self, uri: str, /) -> bytes: ...


def absolute_path(table: Table, key: str) -> str:
    path = table.needed(key)
    if not path.startswith("/") or ".." in path.split("/"):
        raise table.error(key, f"{shown(path)} is no absolute path", "from / on, without ..")
    return path


# ---------------------------------------------------------------------------------------------------- files


class Files:
    def __init__(self, pod: Table, fetch: Fetch) -> None:
        self._fetch = fetch
        self._defined: dict[str, Table] = {}
        self._contents: dict[str, bytes] = {}  # by the path of the definition
        self._room = MAX_CONTENT_BYTES
        for table in pod.tables("files"):
            name = table.needed("name")
            if name in self._defined:
                raise table.error("name", f"a second file {shown(name)}")
            self._defined[name] = table
            _check_file(table)

    def injected(self, container: Table) -> tuple[InjectedFile, ...]:
        paths: set[str] = set()
        files = []
        for reference in container.tables("files"):
            file = self._one(reference)
            if file.path in paths:
                raise reference.error("path", f"a second file at {shown(file.path)}")
            paths.add(file.path)
            files.append(file)
        return tuple(files)

    def _one(self, reference: Table) -> InjectedFile:
        name, definition = self._definition(reference)
        path = absolute_path(reference, "path")
        if path.endswith("/"):
            path += name.lstrip("/")
            if path.endswith("/") or ".." in path.split("/"):
                raise reference.error("path", f"{shown(path)} is no path of a file")
        perm = reference.text("perm") or reference.text("permission") or DEFAULT_PERM
        if not _PERM.fullmatch(perm):
            raise reference.error(
                "perm", f"{shown(perm)} is no permission", 'four octal digits, such as "0644"'
            )
        user, group = reference.text("user"), reference.text("group")
        reference.done()
        content = self._content(definition, name)
        self._room -= len(content)
        if self._room < 0:
            raise reference.error(
                "", f"the files come to more than {MAX_CONTENT_BYTES >> 20} MiB", "use a volume"
            )
        return InjectedFile(path, content, int(perm, 8), user, group)

    def _definition(self, reference: Table) -> tuple[str, Table]:
        if detail := reference.table("detail"):
            _check_file(detail)
            name = reference.text("filename") or detail.needed("name")
            return name, detail
        name = reference.needed("filename")
        if name not in self._defined:
            raise reference.error(
                "filename", f"there is no file {shown(name)}", "`files` of the pod defines it"
            )
        return name, self._defined[name]

    def _content(self, table: Table, name: str) -> bytes:
        if table.path not in self._contents:
            self._contents[table.path] = self._read(table, name)
        return self._contents[table.path]

    def _read(self, table: Table, name: str) -> bytes:
        uri = table.text("uri")
        data = self._fetched(table, uri) if uri else _literal(table)
        if table.text("encoding", "raw").lower() == "raw":
            return data
        decoded, whole = decode_base64(data)
        if not whole:
            table.warn("", f"the base64 of file {shown(name)} is broken: {len(decoded)} bytes of it are kept")
        return decoded

    def _fetched(self, table: Table, uri: str) -> bytes:
        try:
            return self._fetch(uri)
        except (NotFound, Unavailable) as error:
            kind = type(error)
            raise kind(table.error("uri", error.message).message, hint=error.hint) from error
        except HyperError as error:
            raise table.error("uri", error.message, error.hint) from error


def _check_file(table: Table) -> None:
    """All that can be said of a definition without fetching anything."""
    table.text("name")
    encoding = table.text("encoding", "raw")
    if encoding.lower() not in ("raw", "base64"):
        raise table.error("encoding", f"{shown(encoding)} is not known", "raw or base64")
    content = _literal(table)
    uri = table.text("uri")
    if uri:
        check_uri(table, uri)
        if content:
            table.warn("content", "ignored beside a uri")
    table.done()


def check_uri(table: Table, uri: str) -> None:
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES or not (parts.netloc or (parts.scheme == "file" and parts.path)):
        raise table.error("uri", f"{shown(uri)} is not read", "file:///PATH, http://... or https://...")


def _literal(table: Table) -> bytes:
    """NUL may stand in a file's content, and only there."""
    content = table.raw("content")
    if not isinstance(content, str):
        return table.text("content").encode()
    return table.encodable(content, "content").encode()


def decode_base64(data: bytes) -> tuple[bytes, bool]:
    """The bytes that decode, up to the first that does not, and whether that is all of them."""
    packed = b"".join(data.split())
    match = _BASE64.match(packed)
    good = match.group() if match else b""
    whole = good == packed and len(good) % 4 == 0
    return base64.b64decode(good + b"=" * (-len(good) % 4)), whole


# -------------------------------------------------------------------------------------------------- volumes


class Volumes:
    """``all``: the pod's, with those that containers define where they use them."""

    def __init__(self, pod: Table) -> None:
        self._by_name: dict[str, Volume] = {}
        for table in pod.tables("volumes"):
            volume = _volume(table, table.needed("name"))
            if volume.name in self._by_name:
                raise table.error("name", f"a second volume {shown(volume.name)}")
            self._by_name[volume.name] = volume

    @property
    def all(self) -> tuple[Volume, ...]:
        return tuple(self._by_name.values())

    def mounts(self, container: Table) -> tuple[VolumeMount, ...]:
        paths: set[str] = set()
        mounts = []
        for reference in container.tables("volumes"):
            mount = self._mount(reference)
            if mount.path in paths:
                raise reference.error("path", f"a second volume at {shown(mount.path)}")
            paths.add(mount.path)
            mounts.append(mount)
        return tuple(mounts)

    def _mount(self, reference: Table) -> VolumeMount:
        name = self._name(reference)
        path = "/" + absolute_path(reference, "path").strip("/")
        if path == "/":
            raise reference.error("path", "a volume cannot take the place of /")
        read_only = reference.flag("readOnly")
        reference.done()
        return VolumeMount(name, path, read_only=read_only)

    def _name(self, reference: Table) -> str:
        detail = reference.table("detail")
        if detail is None:
            name = reference.needed("volume")
            if name not in self._by_name:
                raise reference.error(
                    "volume", f"there is no volume {shown(name)}", "`volumes` of the pod defines it"
                )
            return name
        name = reference.text("volume") or detail.needed("name")
        volume = _volume(detail, name)
        if self._by_name.setdefault(name, volume) != volume:
            raise reference.error(
                "detail", f"another volume than the one that is named {shown(name)} already"
            )
        return name


def _volume(table: Table, name: str) -> Volume:
    table.text("name")
    source, kind = table.text("source"), table.text("format") or table.text("driver")
    filesystem = table.text("fstype")
    found = _source(table, source, kind.lower(), filesystem)
    check_cache(table)
    if table.said("option") and not isinstance(found, NetworkDisk | NfsShare):
        table.warn("option", "ignored: it is for disks of the network and nas")
    table.done()
    return Volume(name, found)


def check_cache(table: Table) -> None:
    """Of a volume's disk, or of a container's."""
    cache = table.text("cache")
    if cache and cache.lower() not in _CACHES:
        raise table.error("cache", f"{shown(cache)} is not known", f"one of {', '.join(_CACHES)}")
    if cache:
        table.warn("cache", "ignored: how a disk is cached follows from what it is")


def _source(table: Table, source: str, kind: str, filesystem: str) -> Source:
    if kind not in ("", "vfs", "image", *_DISKS, *_NETWORK, *_NFS):
        raise table.error(
            "format", f"{shown(kind)} is not known", f"{_KINDS}, image, or none for a new volume"
        )
    if source and not kind:
        raise table.error("format", "missing, and never guessed from the source", f"{_KINDS} or image")
    if kind == "image":
        return ImageVolume(table.needed("source"))
    if kind in _NFS:
        return _nfs(table, filesystem.lower())
    if kind != "vfs" and filesystem.lower() not in ("", "ext4"):
        raise table.error("fstype", f"{shown(filesystem)} cannot be mounted", "ext4")
    if not source:
        return EmptyDir(size_bytes=NEW_VOLUME_BYTES)
    if kind in _NETWORK:
        return _network(table, kind)
    path = absolute_path(table, "source")
    return HostPath(path) if kind == "vfs" else DiskImage(path, kind)


def _network(table: Table, kind: str) -> NetworkDisk:
    """Paths in its ``option`` are of hyperd's machine, as all of volumes are."""
    if kind == "rbd":
        return _image(table)
    uri = table.needed("source")
    if not uri.lower().startswith(kind):
        raise table.error("source", f"{shown(uri)} is no URI of {kind}", f"{kind}://HOST/...")
    option = table.table("option")
    if option is None:
        return NetworkDisk(uri)
    made = NetworkDisk(
        uri,
        tls_certificates=option.text("tlsCertificates"),
        tls_hostname=option.text("tlsHostname"),
        tls_psk_file=option.text("tlsPskFile"),
        user=option.text("user"),
        password_file=option.text("passwordFile"),
    )
    option.done()
    return made


def _image(table: Table) -> NetworkDisk:
    """``option`` names a cluster of hyperd's configuration, or says where another is: then ``keyring`` is the file that
    has the key, since whoever reads a podfile would read that in it."""
    image, option = table.needed("source").removeprefix("rbd:"), table.table("option")
    if option is None:
        return NetworkDisk(f"rbd://{CLUSTER}/{image}")
    monitors, user, keyring = option.texts("monitors"), option.text("user"), option.text("keyring")
    cluster = option.text("cluster")
    option.done()
    if keyring and not keyring.startswith("/"):
        hint = "the file of hyperd's machine that has the key, and not the key"
        raise option.error("keyring", "no absolute path", hint)
    if len({bool(monitors), bool(user), bool(keyring)}) > 1 or (cluster and keyring):
        hint = "cluster, one of hyperd's configuration; or monitors, user and keyring"
        raise option.error("", "that is no cluster", hint)
    return NetworkDisk(
        f"rbd://{','.join(monitors) or cluster or CLUSTER}/{image}", user=user, password_file=keyring
    )


def _nfs(table: Table, filesystem: str) -> NfsShare:
    """Its ``source`` is SERVER:/PATH; ``option`` has ``mount``, those of nfs(5)."""
    server, colon, path = table.needed("source").partition(":/")
    if not server or not colon:
        raise table.error(
            "source", f"{shown(table.text('source'))} is no directory of a server", "SERVER:/PATH"
        )
    if filesystem not in ("", "nfs", "nfs4"):
        raise table.error("fstype", f"{shown(filesystem)} is not what a nas has", "nfs, nfs4 or none")
    words = ["nfsvers=4"] if filesystem == "nfs4" else []
    if option := table.table("option"):
        words = [word for word in (option.text("mount"), *words) if word]
        option.done()
    return NfsShare(server.removeprefix("[").removesuffix("]"), f"/{path}", ",".join(words))
