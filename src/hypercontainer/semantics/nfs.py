"""Directories that NFS servers export, as Docker's and Kubernetes' users write them, and what the guest's kernel is
told to mount one.  Pure.

There is no mount.nfs in a guest: what that does for mount(8) is done here.  It takes the server's address in place of
its name, tries the versions from the newest on, and keeps locks of version 3, which would need a daemon, in the VM.
Source: nfs(5), and fs/nfs/fs_context.c of Linux.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from hypercontainer.agent.operations import FileSystem
from hypercontainer.contract.volumes import NfsShare
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.semantics.mounts import FLAGS, MS_NODEV, MS_NOSUID, MS_RDONLY

TYPE: Final = "nfs"  # the kernel's name for all versions
PORT: Final = 2049
_VERSIONS: Final = ("4.2", "4.1", "4.0", "3")  # in the order in which they are tried
_PATH_MAX, _OPTIONS_MAX = 1024, 1024
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_PATH: Final = re.compile(r"/[^\0-\x1f\x7f]*")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_WORDS: Final = frozenset(
    "hard soft softerr softreval nosoftreval intr nointr ac noac cto nocto acl noacl rdirplus nordirplus "
    "resvport noresvport sharecache nosharecache migration nomigration nolock".split()
)
_NUMBERS: Final = frozenset(
    "rsize wsize timeo retrans port mountport nconnect acregmin acregmax acdirmin acdirmax actimeo".split()
)
_CHOICES: Final = {
    "proto": ("tcp",),
    "mountproto": ("tcp",),
    "mountvers": ("3",),
    "sec": ("sys",),
    "lookupcache": ("all", "none", "pos", "positive"),
    "local_lock": ("all", "flock", "posix"),
}
_VERSION: Final = ("nfsvers", "vers")
_TAKES: Final = (
    f"{', '.join(f'{name}=' for name in sorted((*_VERSION, *_NUMBERS, *_CHOICES)))}, "
    f"{', '.join(sorted(_WORDS))}, {', '.join(FLAGS)}"
)
_WHY: Final = {
    "lock": "of version 3, locks are the VM's own, as there is no rpc.statd in it; those of version 4 the server has",
    "udp": "the guest's kernel has TCP alone",
    "bg": "a container waits for its volumes",
    "retry": "a container waits for its volumes, some 20 s",
    "sec": "there is no Kerberos in a guest",
}


def check(wanted: NfsShare) -> None:
    """InvalidArgument and NotSupported, which name what is wrong."""
    if not _is_address(wanted.server) and not _HOST.fullmatch(wanted.server):
        raise InvalidArgument(f"NFS server {wanted.server[:80]!r}: no host", takes="a name or an address")
    if _is_address(wanted.server):
        check_address(wanted, wanted.server)
    if not _PATH.fullmatch(wanted.path) or len(wanted.path.encode()) > _PATH_MAX:
        raise InvalidArgument(
            f"NFS server {wanted.server}: {wanted.path[:80]!r}: no path", takes="an absolute path there"
        )
    if len(wanted.options) > _OPTIONS_MAX:
        raise InvalidArgument(f"{words(wanted)}: its options have more than {_OPTIONS_MAX} characters")
    _versions(wanted)
    for word in _words(wanted):
        _check_word(wanted, word)


def check_address(wanted: NfsShare, address: str) -> None:
    """Of its server, as the guest is told it."""
    told = ipaddress.ip_address(address)
    if told.is_loopback or told.is_unspecified or told.is_multicast:
        raise InvalidArgument(
            f"NFS server {wanted.server}: {address} is the VM itself, and no server",
            takes="an address that pods reach, such as one of the host's in its network",
        )


def words(wanted: NfsShare) -> str:
    """It, for people."""
    return f"{_bracketed(wanted.server)}:{wanted.path}"


def port(wanted: NfsShare) -> int:
    return int(dict(_pairs(wanted)).get("port") or PORT)


def mount(wanted: NfsShare, address: str, hostname: str, *, read_only: bool = False) -> FileSystem:
    """From the server at this ``address``, to which the VM is the client ``hostname``.

    >>> mount(NfsShare("nas", "/srv", "soft"), "10.0.0.1", "vm").data
    'vers=4.2,addr=10.0.0.1,soft'
    """
    flags, rest = MS_NOSUID | MS_NODEV, []
    for word in _words(wanted):
        if word in FLAGS:
            flag, on = FLAGS[word]
            flags = flags | flag if on else flags & ~flag
        elif word.partition("=")[0] not in _VERSION:
            rest.append(word)
    first, *others = (_data(version, address, rest) for version in _versions(wanted))
    return FileSystem(
        TYPE,
        f"{_bracketed(wanted.server)}:{wanted.path}",
        (flags | MS_NOSUID | MS_NODEV) & ~MS_RDONLY,
        first,
        read_only=read_only or bool(flags & MS_RDONLY),
        others=tuple(others),
        hostname=hostname,
    )


def _data(version: str, address: str, rest: list[str]) -> str:
    of_version = ["nolock", "mountproto=tcp"] if version == "3" else []
    return ",".join(dict.fromkeys((f"vers={version}", f"addr={address}", *rest, *of_version)))


def _versions(wanted: NfsShare) -> tuple[str, ...]:
    said = {value for name, value in _pairs(wanted) if name in _VERSION}
    if not said:
        return _VERSIONS
    (version, *more) = said
    if version == "4":
        found: tuple[str, ...] = tuple(each for each in _VERSIONS if each.startswith("4"))
    else:
        found = tuple(each for each in _VERSIONS if each == version)
    if more or not found:
        raise InvalidArgument(
            f"{words(wanted)}: version {', '.join(sorted(said))[:40]} of NFS",
            takes=f"nfsvers=4, or one of {', '.join(_VERSIONS)}",
        )
    return found


def _check_word(wanted: NfsShare, word: str) -> None:
    name, equals, value = word.partition("=")
    if (not equals and (name in _WORDS or name in FLAGS)) or (equals and name in _VERSION):
        return
    if equals and name in _NUMBERS and _NUMBER.fullmatch(value):
        return
    if equals and value in _CHOICES.get(name, ()):
        return
    why = _WHY.get(name) or _WHY.get(value, "")
    if name in _NUMBERS | set(_CHOICES) and name != "sec" and value != "udp":
        takes = f"{name}={'|'.join(_CHOICES.get(name, ('NUMBER',)))}"
        raise InvalidArgument(f"{words(wanted)}: option {word[:80]!r}", takes=takes)
    raise NotSupported(
        f"{words(wanted)}: there is no option {word[:80]!r} here{': ' if why else ''}{why}", hint=_TAKES
    )


def _words(wanted: NfsShare) -> Iterator[str]:
    return filter(None, wanted.options.split(","))


def _pairs(wanted: NfsShare) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, _, value in (word.partition("=") for word in _words(wanted)))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # an interface of whose?


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
