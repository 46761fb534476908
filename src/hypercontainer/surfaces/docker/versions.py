"""Versions of the Engine API: which are served, how a path says one, and what of an answer each has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hypercontainer.errors import InvalidArgument

Version = tuple[int, int]

LEAST: Version = (1, 40)
NEWEST: Version = (1, 52)

_PREFIX = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(?=/)")


def words(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[Version, str]:
    """The version that a path begins with, and the rest; the newest where it says none.  InvalidArgument, in the words
    that clients look for, where it is not served."""
    match = _PREFIX.match(path)
    if match is None:
        return NEWEST, path
    version = (int(match[1]), int(match[2]))
    if version < LEAST:
        raise InvalidArgument(
            f"client version {words(version)} is too old. Minimum supported API version is {words(LEAST)}, "
            "please upgrade your client to a newer version"
        )
    if version > NEWEST:
        raise InvalidArgument(
            f"client version {words(version)} is too new. Maximum supported API version is {words(NEWEST)}"
        )
    return version, path[match.end() :]


@dataclass(frozen=True)
class Field:
    """Of an answer, which some versions do not have.  ``path``: names with dots, * for all of a map or a list;
    ``since``: the first version with it; ``until``: the first without it; ``empty``: that of its emptiness alone, of a
    field that is left out where it says nothing."""

    path: str
    since: Version = LEAST
    until: Version = (99, 0)
    empty: bool = False

    def is_of(self, version: Version) -> bool:
        return self.since <= version < self.until


# By kind of answer.  A handler makes it with all that any version has; what is here takes away what one has not.
FIELDS: dict[str, tuple[Field, ...]] = {
    "info": (
        Field("CgroupVersion", since=(1, 41)),
        Field("KernelMemory", until=(1, 42)),
        Field("CDISpecDirs", since=(1, 44)),
        Field("RegistryConfig.AllowNondistributableArtifactsCIDRs", until=(1, 49)),
        Field("RegistryConfig.AllowNondistributableArtifactsHostnames", until=(1, 49)),
        Field("ContainerdCommit.Expected", until=(1, 49)),
        Field("RuncCommit.Expected", until=(1, 49)),
        Field("InitCommit.Expected", until=(1, 49)),
        Field("BridgeNfIptables", until=(1, 50)),
        Field("BridgeNfIp6tables", until=(1, 50)),
        Field("KernelMemoryTCP", until=(1, 52)),
    ),
    "usage": (
        Field("BuilderSize", until=(1, 42)),
        Field("BuildCache.*.Parent", until=(1, 42)),
        Field("BuildCache.*.Parents", since=(1, 42)),
        Field("BuildCacheUsage.Items.*.Parent", until=(1, 42)),
    ),
    "network": (Field("EnableIPv4", since=(1, 48)), Field("Status", since=(1, 52))),
    "images": (
        Field("*.VirtualSize", until=(1, 44)),
        Field("*.Manifests", since=(1, 47)),
        Field("*.Descriptor", since=(1, 48)),
    ),
    "image": (
        Field("VirtualSize", until=(1, 44)),
        Field("Container", until=(1, 45)),
        Field("ContainerConfig", until=(1, 45)),
        Field("Created", until=(1, 44), empty=True),
        Field("Descriptor", since=(1, 48)),
        Field("Manifests", since=(1, 48)),
        *(
            Field(f"Config.{name}", until=(1, 50))
            for name in (
                "Hostname Domainname AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Image "
                "NetworkDisabled MacAddress StopTimeout"
            ).split()
        ),
        *(
            Field(name, until=(1, 52), empty=True)
            for name in (
                "Parent Comment DockerVersion Author Config.Cmd Config.Entrypoint Config.Env Config.Labels "
                "Config.OnBuild Config.User Config.Volumes Config.WorkingDir"
            ).split()
        ),
    ),
    "container line": (
        Field("HostConfig.Annotations", since=(1, 46)),
        Field("NetworkSettings.Networks.*.DNSNames", since=(1, 44)),
        Field("NetworkSettings.Networks.*.GwPriority", since=(1, 48)),
        Field("Health", since=(1, 52)),
    ),
    "stats": (Field("os_type", since=(1, 52)),),
    "event": (
        Field("status", until=(1, 52)),
        Field("id", until=(1, 52)),
        Field("from", until=(1, 52)),
    ),
    "container": (
        *(
            Field(f"NetworkSettings.{name}", until=(1, 52))
            for name in (
                "Bridge HairpinMode LinkLocalIPv6Address LinkLocalIPv6PrefixLen SecondaryIPAddresses "
                "SecondaryIPv6Addresses EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen "
                "IPv6Gateway MacAddress"
            ).split()
        ),
        Field("NetworkSettings.Networks.*.DNSNames", since=(1, 44)),
        Field("NetworkSettings.Networks.*.GwPriority", since=(1, 48)),
        Field("Config.Healthcheck.StartInterval", since=(1, 44)),
        Field("Config.MacAddress", until=(1, 52)),
        Field("Config.OnBuild", until=(1, 52), empty=True),
        Field("HostConfig.CgroupnsMode", since=(1, 41)),
        Field("HostConfig.Annotations", since=(1, 43)),
        Field("HostConfig.KernelMemory", until=(1, 42)),
        Field("HostConfig.KernelMemoryTCP", until=(1, 52)),
    ),
}


def shaped(kind: str, answer: Any, version: Version) -> Any:
    """``answer``, which is changed, as ``version`` has it."""
    for field in FIELDS.get(kind, ()):
        if not field.is_of(version):
            _take_away(answer, field.path.split("."), empty=field.empty)
    return answer


def _take_away(at: Any, names: list[str], *, empty: bool) -> None:
    first, *rest = names
    if first == "*":
        for each in at.values() if isinstance(at, dict) else at if isinstance(at, list) else ():
            _take_away(each, rest, empty=empty)
    elif not isinstance(at, dict) or first not in at:
        return
    elif rest:
        _take_away(at[first], rest, empty=empty)
    elif not (empty and at[first]):
        del at[first]
