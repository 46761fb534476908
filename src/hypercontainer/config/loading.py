"""The configuration file's tables, checked key by key: an unknown key or a wrong type is an error that names
file, table and key.

`TABLES` is the file's schema: for each key the field of the dataclass and the function that takes its value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hypercontainer.config.model import (
    Config,
    Defaults,
    Factory,
    Layers,
    Logging,
    Machine,
    Networks,
    Registries,
    SizePolicy,
    Uml,
    Volumes,
)
from hypercontainer.config.places import Locations, locations
from hypercontainer.errors import InvalidArgument

Taker = Callable[[object], object]  # raises ValueError with what it wants

_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?\s*([kmgt]?)i?b?", re.IGNORECASE | re.ASCII)
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?", re.ASCII)


class Key(NamedTuple):
    field: str
    take: Taker


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a string is wanted")
    return value


def one_of(*choices: str) -> Taker:
    def take(value: object) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)} is wanted")
        return str(value)

    return take


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return value


def whole(low: int, high: int) -> Taker:
    def take(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high} is wanted")
        return value

    return take


def cpus(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1024:
        raise ValueError("a number above 0 is wanted")
    return float(value)


def size(value: object) -> int:
    """Bytes, or as Docker writes sizes: "128m", "1.5g" (powers of 1024)."""
    match = (
        _SIZE.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    )
    if match is None:
        raise ValueError('a size is wanted: a number of bytes, or "128m", "2g"')
    number, fraction, unit = match.groups()
    factor = 1024 ** " kmgt".index(unit.lower() or " ")
    total: int = int(number) * factor
    if fraction:
        total += int(fraction) * factor // int("1" + "0" * len(fraction))
    if total == 0:
        raise ValueError("a size above 0 is wanted")
    return total


def absolute(value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("an absolute path is wanted")
    return Path(value)


def texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError("a list of strings is wanted")
    return tuple(value)


def directories(value: object) -> tuple[Path, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of absolute paths is wanted")
    return tuple(absolute(item) for item in value)


def addresses(value: object) -> tuple[str, ...]:
    for item in texts(value):
        ipaddress.ip_address(item)
    return texts(value)


def registry(value: object) -> str:
    if not isinstance(value, str) or not _REGISTRY.fullmatch(value):
        raise ValueError(f"a registry (host or host:port) is wanted, not {value!r}")
    return value


def registries(value: object) -> tuple[str, ...]:
    return tuple(registry(item) for item in texts(value))


def urls(value: object) -> tuple[str, ...]:
    for item in texts(value):
        if not item.startswith(("http://", "https://")):
            raise ValueError(f"http:// or https:// is wanted, not {item!r}")
    return texts(value)


def by_registry(take: Taker) -> Taker:
    def take_table(value: object) -> dict[str, object]:
        if not isinstance(value, dict):
            raise ValueError("a table with registries as its keys is wanted")
        return {registry(name): take(item) for name, item in value.items()}

    return take_table


def size_policies(value: object) -> tuple[SizePolicy, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("tables are wanted, each with cpu and memory")
    taken: list[SizePolicy] = []
    for number, item in enumerate(value, 1):
        try:
            policy = _size_policy(item)
            if any(other.fits(policy.memory_bytes, policy.cpus) for other in taken):
                raise ValueError("this cpu and memory have a table already")
        except ValueError as error:
            raise ValueError(f"table {number}: {error}") from error
        taken.append(policy)
    return tuple(taken)


def _size_policy(content: Mapping[str, object]) -> SizePolicy:
    fields: dict[str, Any] = {}
    for key, value in content.items():
        known = SIZE_KEYS.get(key)
        if known is None:
            raise ValueError(f"unknown key {key!r}, known are {', '.join(SIZE_KEYS)}")
        try:
            fields[known.field] = known.take(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    for key in ("cpu", "memory"):
        if key not in content:
            raise ValueError(f"{key} is missing")
    return SizePolicy(**fields)


SIZE_KEYS: dict[str, Key] = {
    "cpu": Key("cpus", whole(1, 1024)),
    "memory": Key("memory_bytes", size),
    "template": Key("template", truth),
    "cache": Key("cache", whole(0, 64)),
}

PLACES = ("root", "run", "host", "cache")  # read by places.py

# The table "" is the file's top.
TABLES: dict[str, dict[str, Key]] = {
    "": {"group": Key("group", text)},
    "defaults": {
        "memory": Key("memory_bytes", size),
        "cpus": Key("cpus", cpus),
        "stop_timeout_s": Key("stop_timeout_s", whole(0, 86_400)),
        "dns": Key("dns", addresses),
        "dns_search": Key("dns_search", texts),
    },
    "machine": {
        "kernel": Key("kernel", text),
        "initrd": Key("initrd", absolute),
        "kernel_args": Key("kernel_args", texts),
        "hypervisor": Key("hypervisor", one_of("auto", "qemu", "uml")),
        "accel": Key("accelerator", one_of("auto", "kvm", "tcg")),
        "qemu": Key("qemu", text),
        "boot_timeout_s": Key("boot_timeout_s", whole(1, 86_400)),
        "uid_base": Key("uid_base", whole(1000, 2**31 - 1)),
        "uid_count": Key("uid_count", whole(1, 2**24)),
    },
    "uml": {"mode": Key("mode", one_of("seccomp", "ptrace"))},
    "factory": {
        "template": Key("template", truth),
        "cache": Key("cache", whole(0, 64)),
        "idle_s": Key("idle_s", whole(0, 86_400)),
        "memory_percent": Key("memory_percent", whole(0, 90)),
        "sizes": Key("sizes", size_policies),
    },
    "network": {
        "default": Key("default", one_of("auto", "bridge", "user", "none")),
        "cni_conf_dir": Key("cni_conf_dir", absolute),
        "cni_plugin_dirs": Key("cni_plugin_dirs", directories),
        "cni_gc": Key("cni_gc", truth),
    },
    "log": {
        "level": Key("level", one_of("debug", "info", "warning", "error")),
        "driver": Key("driver", one_of("file", "none")),
        "max_size": Key("max_size_bytes", size),
        "max_files": Key("max_files", whole(1, 1000)),
    },
    "registries": {
        "mirrors": Key("mirrors", by_registry(urls)),
        "insecure": Key("insecure", registries),
        "ca": Key("ca", by_registry(absolute)),
        "parallel_downloads": Key("parallel_downloads", whole(1, 64)),
    },
    "layers": {
        "max_size": Key("max_bytes", size),
        "max_entries": Key("max_entries", whole(1, 100_000_000)),
        "max_image_size": Key("max_image_bytes", size),
    },
    "volumes": {"type": Key("kind", one_of("disk", "shared"))},
}


def load_config(
    *,
    root: str | None = None,
    run: str | None = None,
    host: str | None = None,
    file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The arguments are hyperd's flags; raises InvalidArgument."""
    return from_locations(locations(root=root, run=run, host=host, file=file, environ=environ))


def from_locations(places: Locations) -> Config:
    taken = take_tables(places.table, places.file)
    return Config(
        root=Path(places.root),
        run=Path(places.run),
        address=Path(places.address),
        cache=Path(places.cache),
        file=Path(places.file) if places.file else None,
        defaults=Defaults(**taken["defaults"]),
        machine=Machine(**taken["machine"]),
        uml=Uml(**taken["uml"]),
        factory=Factory(**taken["factory"]),
        network=Networks(**taken["network"]),
        logging=Logging(**taken["log"]),
        registries=Registries(**taken["registries"]),
        layers=Layers(**taken["layers"]),
        volumes=Volumes(**taken["volumes"]),
        **taken[""],
    )


def take_tables(content: Mapping[str, object], file: str) -> dict[str, dict[str, Any]]:
    """For each table of `TABLES` the fields that ``content`` sets."""
    top = {key: value for key, value in content.items() if key not in TABLES and key not in PLACES}
    taken: dict[str, dict[str, Any]] = {"": _take_table("", top, file)}
    for name in TABLES.keys() - {""}:
        value = content.get(name, {})
        if not isinstance(value, dict):
            raise InvalidArgument(f"{file}: {name}: a table is wanted, not {value!r}")
        taken[name] = _take_table(name, value, file)
    return taken


def _take_table(name: str, content: Mapping[str, object], file: str) -> dict[str, Any]:
    where = f"{file}: [{name}]" if name else file
    fields: dict[str, Any] = {}
    for key, value in content.items():
        known = TABLES[name].get(key)
        if known is None:
            choices = [*TABLES[name], *(() if name else (*PLACES, *(table for table in TABLES if table)))]
            raise InvalidArgument(f"{where}: unknown key {key!r}", hint=f"known are {', '.join(choices)}")
        try:
            fields[known.field] = known.take(value)
        except ValueError as error:
            raise InvalidArgument(f"{where}: {key}: {error}") from error
    return fields
