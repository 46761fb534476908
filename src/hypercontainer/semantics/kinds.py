"""What Docker's documents are in Go, where their JSON does not tell: which of their objects are maps, which may lack
any key, and which of their nulls are lists or maps.

``typed`` makes of a document what a template is to be shown.  In it a plain dict is a struct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Kind = Any  # ListOf, MapOf, a dict of a struct's fields, or the zero value of a scalar; None: a pointer, or unknown


@dataclass(frozen=True)
class ListOf:
    of: Kind = ""


@dataclass(frozen=True)
class MapOf:
    of: Kind = ""
    named: bool = (
        True  # its keys are texts; of those with a type of their own Docker finds none that is not there
    )


class Struct(dict[str, Any]):
    """``whole``: with the fields that JSON leaves out where they are empty; in Go's order, where that is known."""

    def __init__(self, fields: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self.whole = whole


class NoValue:
    """What a map gives for a key that it has not."""

    def __bool__(self) -> bool:
        return False


NO_VALUE = NoValue()


class GoMap(dict[str, Any]):
    """In the order of its keys, as Go shows maps.  ``zero``: what ``index`` gives for a key that it has not."""

    def __init__(self, entries: Mapping[str, Any], zero: Any = "") -> None:
        super().__init__(sorted(entries.items()))
        self.zero = zero


@dataclass(frozen=True)
class Nil:
    """A list or a map that is nil: ``text`` is what Go prints for it, JSON has null."""

    text: str
    zero: Any = None

    @property
    def is_map(self) -> bool:
        return self.text == "map[]"

    def __len__(self) -> int:
        return 0


TEXTS = ListOf()
LABELS = MapOf()
SET = MapOf({})  # of Go's empty structs
_BINDINGS = MapOf(ListOf({"HostIp": "", "HostPort": ""}), named=False)

CONFIG: Kind = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "ExposedPorts": SET,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": TEXTS,
    "Cmd": TEXTS,
    "Healthcheck": {"Test": TEXTS},
    "ArgsEscaped": False,
    "Image": "",
    "Volumes": SET,
    "WorkingDir": "",
    "Entrypoint": TEXTS,
    "NetworkDisabled": False,
    "MacAddress": "",
    "OnBuild": TEXTS,
    "Labels": LABELS,
    "StopSignal": "",
    "StopTimeout": None,
    "Shell": TEXTS,
}
_GRAPH_DRIVER: Kind = {"Data": LABELS}
_HOST_LISTS = """Binds VolumesFrom CapAdd CapDrop Dns DnsOptions DnsSearch ExtraHosts GroupAdd Links SecurityOpt
    BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps ConsoleSize
    Devices DeviceCgroupRules DeviceRequests Ulimits Mounts MaskedPaths ReadonlyPaths"""
_PLACES = MapOf(
    {"Links": TEXTS, "Aliases": TEXTS, "IPAMConfig": None, "DriverOpts": LABELS, "DNSNames": TEXTS}
)
CONTAINER: Kind = {
    "Args": TEXTS,
    "State": {
        "Status": "",
        **dict.fromkeys(("Running", "Paused", "Restarting", "OOMKilled", "Dead"), False),
        "Pid": 0,
        "ExitCode": 0,
        **dict.fromkeys(("Error", "StartedAt", "FinishedAt"), ""),
        "Health": {"Status": "", "FailingStreak": 0, "Log": ListOf()},
    },
    "ExecIDs": TEXTS,
    "SizeRw": None,
    "SizeRootFs": None,
    "Mounts": ListOf(
        {
            **dict.fromkeys(("Type", "Name", "Source", "Destination", "Driver", "Mode"), ""),
            "RW": False,
            "Propagation": "",
        }
    ),
    "Config": CONFIG,
    "GraphDriver": _GRAPH_DRIVER,
    "HostConfig": {
        **dict.fromkeys(_HOST_LISTS.split(), TEXTS),
        **dict.fromkeys(("StorageOpt", "Tmpfs", "Sysctls", "Annotations"), LABELS),
        "PortBindings": _BINDINGS,
        "LogConfig": {"Config": LABELS},
        "Init": None,
    },
    "NetworkSettings": {
        "Ports": _BINDINGS,
        "SecondaryIPAddresses": TEXTS,
        "SecondaryIPv6Addresses": TEXTS,
        "Networks": _PLACES,
    },
}
IMAGE: Kind = {
    "RepoTags": TEXTS,
    "RepoDigests": TEXTS,
    "ContainerConfig": CONFIG,
    "Config": CONFIG,
    "Variant": "",
    "OsVersion": "",
    "GraphDriver": _GRAPH_DRIVER,
    "RootFS": {"Layers": TEXTS},
}
VOLUME: Kind = {"Labels": LABELS, "Options": LABELS, "Status": LABELS, "UsageData": None}
NETWORK: Kind = {
    "IPAM": {
        "Driver": "",
        "Options": LABELS,
        "Config": ListOf({"Subnet": "", "IPRange": "", "Gateway": "", "AuxiliaryAddresses": LABELS}),
    },
    "Containers": MapOf(
        dict.fromkeys(("Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"), "")
    ),
    "Options": LABELS,
    "Labels": LABELS,
}
POD: Kind = {
    "Labels": LABELS,
    "Annotations": LABELS,
    "Ports": _BINDINGS,
    "Mounts": MapOf(ListOf()),
    "NetworkSettings": {"Networks": _PLACES},
}
EVENT: Kind = {"status": "", "id": "", "from": "", "Actor": {"Attributes": LABELS}}


def zero(kind: Kind) -> Any:
    """What Go has where nothing was said.  Of a struct: a pointer to none."""
    if isinstance(kind, ListOf):
        return Nil("[]")
    if isinstance(kind, MapOf):
        return Nil("map[]", _zero_of(kind))
    return None if isinstance(kind, Mapping) else kind


def _zero_of(kind: MapOf) -> Any:
    return zero(kind.of) if kind.named else NO_VALUE


def typed(value: Any, kind: Kind = None) -> Any:
    """``value`` with its maps, its nil lists, and its fields that are left out where they are empty."""
    if value is None:
        return zero(kind)
    if isinstance(value, Mapping):
        if isinstance(kind, MapOf):
            return GoMap({key: typed(item, kind.of) for key, item in value.items()}, _zero_of(kind))
        known: Mapping[str, Kind] = kind if isinstance(kind, Mapping) else {}
        fields = {name: typed(item, known.get(name)) for name, item in value.items()}
        whole = {name: fields[name] if name in fields else zero(known[name]) for name in known}
        return Struct(fields, whole if known.keys() >= fields.keys() else fields | whole)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [typed(item, kind.of if isinstance(kind, ListOf) else None) for item in value]
    return value
