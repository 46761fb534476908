"""Disks that servers have: where one is, as a user writes it, and the secrets that its server wants.

Pure, but for ``credentials`` and ``read_secret``.  Sources: doc/uri.md of the NBD project; RFC 7143, and the URLs of
libiscsi.  Of rbd there is no URI that others know.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from hypercontainer.contract.volumes import NetworkDisk, Source
from hypercontainer.errors import InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.linux.users import User, open_regular

NBD, ISCSI, RBD = "nbd", "iscsi", "rbd"
CA, CERTIFICATE, KEY, PSK, PASSWORD = "ca-cert.pem client-cert.pem client-key.pem keys.psk password".split()
_PORTS = {NBD: 10809, ISCSI: 3260}
_SCHEMES = {  # protocol, TLS, by a unix socket
    "nbd": (NBD, False, False),
    "nbds": (NBD, True, False),
    "nbd+unix": (NBD, False, True),
    "nbds+unix": (NBD, True, True),
    "iscsi": (ISCSI, False, False),
}
_URI_MAX, _NAME_MAX, _SOCKET_MAX, _FILE_MAX = 2048, 1024, 4095, 1 << 18
_LUNS = range(256)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_TARGET = re.compile(r"(iqn|eui|naa)\.[a-z0-9.:-]{1,219}")
_RBD = re.compile(
    r"rbd://(?:([^/@?#]*)@)?([^/@?#]*)/([^/@?#]+)/(?:([^/@?#]+)/)?([^/@?#]+)(?:@([^/@?#]+))?", re.IGNORECASE
)
_BEFORE_PLACE = re.compile(r"//[^/]*@")
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_MONITOR = re.compile(rf"(?:{_HOST.pattern}|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_MONITORS_MAX = 16
_PART = re.compile(r"[!-.0-?A-~]{1,255}")  # of the name of an image, in which / and @ stand for themselves
_USER = re.compile(r"[!-~]{1,255}")
_PRINTABLE = re.compile(r"[!-~]+")
_HINT = "such as nbd://HOST:10809/EXPORT, nbds://..., nbd+unix:///EXPORT?socket=PATH, iscsi://HOST/TARGET/LUN, rbd://CLUSTER/POOL/IMAGE"


@dataclass(frozen=True)
class Where:
    """``name``: the export's, the target's or the image's.  ``socket``: in place of ``host`` and ``port``.  Of an rbd,
    ``host`` is the cluster's name in hyperd's configuration, or, with a ``password_file``, its monitors."""

    protocol: str
    host: str
    port: int
    socket: str
    name: str
    lun: int
    tls: bool
    user: str
    pool: str = ""
    namespace: str = ""
    snapshot: str = ""

    @property
    def words(self) -> str:
        """The URI in one form, whichever way it was written, without a user."""
        if self.protocol == RBD:
            parts = [quote(part, safe="+:") for part in (self.pool, self.namespace, self.name) if part]
            snapshot = f"@{quote(self.snapshot, safe='+:')}" if self.snapshot else ""
            return f"rbd://{self.host}/{'/'.join(parts)}{snapshot}"
        scheme = f"{self.protocol}{'s' if self.tls else ''}{'+unix' if self.socket else ''}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = "" if self.socket else f"{host}:{self.port}"
        lun = f"/{self.lun}" if self.protocol == ISCSI else ""
        socket = f"?socket={quote(self.socket)}" if self.socket else ""
        return f"{scheme}://{place}/{quote(self.name, safe=':/')}{lun}{socket}"


def where(disk: NetworkDisk) -> Where:
    """InvalidArgument and NotSupported, which name what is wrong."""
    if len(disk.uri) > _URI_MAX or not _PRINTABLE.fullmatch(disk.uri):
        raise InvalidArgument(f"network disk {disk.uri[:80]!r}: no URI", hint=_HINT)
    if disk.uri[:4].lower() == "rbd:":
        return _image(disk)
    try:
        parts = urlsplit(disk.uri)
        host, port, user, password = parts.hostname or "", parts.port, parts.username, parts.password
    except ValueError as error:
        raise InvalidArgument(f"network disk {disk.uri[:80]}: {error}", hint=_HINT) from None
    shown = disk.uri.rpartition("@")[2][:200]
    if password is not None or "%" in (user or ""):
        raise NotSupported(
            f"network disk {shown}: a password in its URI could be read by others", hint=_SECRETS
        )
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise NotSupported(f"network disk {shown}: a URI of another kind", hint=_HINT)
    protocol, tls, unix = _SCHEMES[parts.scheme]
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    socket = query.pop("socket", "") if unix else ""
    if query:
        raise NotSupported(f"network disk {shown}: {', '.join(query)}: not in a URI", hint=_SECRETS)
    _check_place(shown, host, port, socket, unix=unix)
    port = _PORTS[protocol] if port is None else port
    found = Where(protocol, host, port, socket, "", 0, tls, user or disk.user)
    made = _target(shown, found, parts.path) if protocol == ISCSI else _export(shown, found, parts.path)
    _check_secrets(shown, made, disk)
    return made


_SECRETS = "the fields tls_certificates, tls_psk_file, tls_hostname, user and password_file say the rest"


def _check_place(shown: str, host: str, port: int | None, socket: str, *, unix: bool) -> None:
    if unix:
        absolute = socket.startswith("/") and "\0" not in socket and len(socket.encode()) <= _SOCKET_MAX
        if host or port is not None or not absolute:
            raise InvalidArgument(
                f"network disk {shown}: needs socket=, an absolute path, and no host", hint=_HINT
            )
        return
    if port == 0:
        raise InvalidArgument(f"network disk {shown}: 0 is no port", hint=_HINT)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host):
            raise InvalidArgument(f"network disk {shown}: {host!r} is no host", hint=_HINT) from None


def _export(shown: str, found: Where, path: str) -> Where:
    try:
        name = unquote(path.removeprefix("/"), errors="strict")
    except UnicodeDecodeError:
        name = "\0"
    if len(name.encode()) > _NAME_MAX or any(ord(letter) < 32 for letter in name):
        raise InvalidArgument(f"network disk {shown}: that is no name of an export")
    return replace(found, name=name)


def _target(shown: str, found: Where, path: str) -> Where:
    name, _, lun = path.removeprefix("/").rpartition("/")
    name = unquote(name).lower()
    if not _TARGET.fullmatch(name) or not lun.isdecimal() or len(lun) > 3 or int(lun) not in _LUNS:
        raise InvalidArgument(
            f"network disk {shown}: no iSCSI target and unit",
            hint="iscsi://HOST[:PORT]/iqn.2001-04.com.example:disk/1",
        )
    return replace(found, name=name, lun=int(lun))


def _image(disk: NetworkDisk) -> Where:
    shown = _BEFORE_PLACE.sub("//", disk.uri)[:200]
    match = _RBD.fullmatch(disk.uri)
    user, place, *parts = (unquote(part or "") for part in match.groups()) if match else [""] * 6
    if ":" in user:
        raise NotSupported(f"network disk {shown}: a key in its URI could be read by others", hint=_SECRETS)
    if match is None or not all(_PART.fullmatch(part) for part in parts if part):
        raise InvalidArgument(f"network disk {shown}: that is no image of a pool", hint=_IMAGE_HINT)
    pool, namespace, name, snapshot = parts
    found = Where(RBD, place, 0, "", name, 0, False, user or disk.user, pool, namespace, snapshot)
    monitors = place.split(",")
    if not disk.password_file and not _CLUSTER.fullmatch(place):
        raise InvalidArgument(f"network disk {shown}: {place[:80]!r} is no cluster's name", hint=_IMAGE_HINT)
    if len(monitors) > _MONITORS_MAX or not (
        _CLUSTER.fullmatch(place) or all(map(_MONITOR.fullmatch, monitors))
    ):
        raise InvalidArgument(f"network disk {shown}: {place[:80]!r} are no monitors", hint=_IMAGE_HINT)
    _check_secrets(shown, found, disk)
    return found


_IMAGE_HINT = (
    "rbd://CLUSTER/POOL/[NAMESPACE/]IMAGE[@SNAPSHOT], of a cluster of hyperd's configuration; "
    "or rbd://MONITOR,MONITOR/POOL/IMAGE, with user and password_file"
)


def is_snapshot(source: Source) -> bool:
    """Which nobody can write to."""
    return isinstance(source, NetworkDisk) and bool(where(source).snapshot)


def _check_secrets(shown: str, found: Where, disk: NetworkDisk) -> None:
    def wrong(problem: str, takes: str) -> InvalidArgument:
        return InvalidArgument(f"network disk {shown}: {problem}", hint=takes)

    files = (disk.tls_certificates, disk.tls_psk_file, disk.password_file)
    for path in files:
        if path and (not path.startswith("/") or "\0" in path):
            raise wrong(f"{path!r} is no absolute path", "a path of hyperd's machine")
    if found.user and not _USER.fullmatch(found.user):
        raise wrong("that is no user", "1 to 255 printable characters")
    if disk.tls_hostname and not _HOST.fullmatch(disk.tls_hostname):
        raise wrong(
            f"{disk.tls_hostname[:80]!r} is no host", "tls_hostname: the name in the server's certificate"
        )
    if found.tls != bool(disk.tls_certificates or disk.tls_psk_file):
        raise wrong("TLS", "nbds:// and tls_certificates or tls_psk_file, or neither")
    if disk.tls_certificates and disk.tls_psk_file:
        raise wrong("TLS by certificates and by a shared key", "one of tls_certificates and tls_psk_file")
    if disk.tls_certificates and found.socket and not disk.tls_hostname:
        raise wrong("a socket has no name that a certificate could be for", "tls_hostname")
    if disk.tls_hostname and not disk.tls_certificates:
        raise wrong("tls_hostname without a certificate that it could stand in", "tls_certificates")
    by_password = found.protocol != NBD
    if bool(disk.password_file) != (by_password and bool(found.user)):
        raise wrong("a user or a password alone", "both user and password_file, or neither; not with NBD")
    if found.user and not by_password and not disk.tls_psk_file:
        raise wrong("nobody asks for a user here", "user goes with tls_psk_file, or with password_file")


def credentials(disk: NetworkDisk, user: User | None) -> tuple[tuple[str, bytes], ...]:
    """What stands in the files that it names, read with the rights of ``user``, as QEMU calls each; blocks."""
    if disk.tls_psk_file:
        return ((PSK, read_secret(disk.tls_psk_file, user)),)
    if disk.password_file:
        password = read_secret(disk.password_file, user).removesuffix(b"\n").removesuffix(b"\r")
        if not password or b"\0" in password or len(password) > 255:
            raise InvalidArgument(f"{disk.password_file}: no password", hint="one line of 1 to 255 bytes")
        return ((PASSWORD, password),)
    if not disk.tls_certificates:
        return ()
    authority = (CA, read_secret(f"{disk.tls_certificates}/{CA}", user))
    try:
        certificate = (CERTIFICATE, read_secret(f"{disk.tls_certificates}/{CERTIFICATE}", user))
    except NotFound:  # of a server that does not ask who somebody is
        return (authority,)
    return (authority, certificate, (KEY, read_secret(f"{disk.tls_certificates}/{KEY}", user)))


def read_secret(path: str, user: User | None) -> bytes:
    """A small file, with the rights of ``user``; blocks.  InvalidArgument, NotFound, Unavailable, which name it."""
    try:
        fd = open_regular(path, user)
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file") from None
    except PermissionError:
        raise InvalidArgument(f"{path}: whoever asks for it may not read it") from None
    except OSError as error:
        raise Unavailable(f"{path}: cannot be read: {error.strerror or error}") from error
    with open(fd, "rb") as file:
        data = file.read(_FILE_MAX + 1)
    if len(data) > _FILE_MAX:
        raise InvalidArgument(f"{path}: more than {_FILE_MAX} bytes are no credentials")
    return data
