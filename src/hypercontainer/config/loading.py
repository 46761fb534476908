"""The configuration file's tables, checked key by key: an unknown key or a wrong type is an error that names
file, table and key.

`TABLES` is the file's schema: for each key the field of the dataclass and the function that takes its value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypercontainer.config.model import (
    Build,
    Config,
    Defaults,
    Docker,
    Factory,
    ImageRule,
    Images,
    Layers,
    Logging,
    Machine,
    Networks,
    RbdCluster,
    Registries,
    Setting,
    SizePolicy,
    Tls,
    Uml,
    Volumes,
)
from hypercontainer.config.places import Locations, locations
from hypercontainer.errors import InvalidArgument

Taker = Callable[[object], object]  # raises ValueError with what it wants

_SIZE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,3}))?\s*([kmgt]?)i?b?", re.IGNORECASE | re.ASCII)
_PLACE = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?", re.ASCII)
_CLUSTER, _CEPH_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"), re.compile(r"[!-~]{1,255}")

# The first part is a registry, which a repository's alone could not be told from.
_MATCH = re.compile(
    r"(?:localhost|[A-Za-z0-9-]*[.:][A-Za-z0-9.:-]*|\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?)"
    r"(?:(?:/[a-z0-9._-]+)+(?:/\*)?|/\*)"
)


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


def paths(value: object) -> tuple[Path, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of absolute paths is wanted")
    return tuple(absolute(item) for item in value)


def addresses(value: object) -> tuple[str, ...]:
    for item in texts(value):
        ipaddress.ip_address(item)
    return texts(value)


def registry(value: object) -> str:
    if not isinstance(value, str) or not _PLACE.fullmatch(value):
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
    taken: list[SizePolicy] = []

    def add(fields: dict[str, Any]) -> None:
        policy = SizePolicy(**fields)
        if any(other.fits(policy.memory_bytes, policy.cpus) for other in taken):
            raise ValueError("this cpu and memory have a table already")
        taken.append(policy)

    _each_table(value, SIZE_KEYS, ("cpu", "memory"), add)
    return tuple(taken)


def image_rules(value: object) -> tuple[ImageRule, ...]:
    taken: list[ImageRule] = []
    _each_table(value, RULE_KEYS, ("match", "require"), lambda fields: taken.append(_image_rule(fields)))
    return tuple(taken)


def _image_rule(fields: dict[str, Any]) -> ImageRule:
    """What ``require`` needs is there, and nothing that it does not know."""
    names = {key.field: name for name, key in RULE_KEYS.items()}
    needed, also = _OF_REQUIRE[fields["require"]]
    for field in needed:
        if not fields.get(field):
            raise ValueError(f'require = "{fields["require"]}" wants {names[field]}')
    for field in fields.keys() - {"match", "require", *needed, *also}:
        raise ValueError(f'{names[field]} is nothing that require = "{fields["require"]}" knows')
    return ImageRule(**fields)


def image_match(value: object) -> str:
    """REGISTRY/REPOSITORY, REGISTRY/* or REGISTRY/PART/*, or * for every image."""
    if not isinstance(value, str) or (value != "*" and not _MATCH.fullmatch(value)):
        raise ValueError(
            '"REGISTRY/REPOSITORY" is wanted, "REGISTRY/PART/*" or "*"; docker.io is a registry, too'
        )
    return value


def clusters(value: object) -> dict[str, RbdCluster]:
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ValueError("tables [rbd.NAME] are wanted, each with monitors, user and keyring")
    found = {}
    for name, content in value.items():
        if not _CLUSTER.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a cluster: at most 63 letters, digits, '-' and '_'")
        try:
            found[name] = RbdCluster(**_table_fields(content, CLUSTER_KEYS, tuple(CLUSTER_KEYS)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def hypervisors(value: object) -> dict[str, dict[str, Setting]]:
    """Of any driver, whose own the keys are."""
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ValueError("tables [hypervisor.NAME] are wanted")
    for name in value:
        if not _CLUSTER.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a driver: at most 63 letters, digits, '-' and '_'")
    return {
        name: {key: _setting(f"{name}: {key}", item) for key, item in content.items()}
        for name, content in value.items()
    }


def _setting(where: str, value: object) -> Setting:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"{where}: a string, a number, true, false or a list of strings is wanted")


def monitors(value: object) -> tuple[str, ...]:
    places = texts(value)
    if not 0 < len(places) <= 16 or not all(map(_PLACE.fullmatch, places)):
        raise ValueError("a list of 1 to 16 monitors is wanted, each a host or host:port")
    return places


def ceph_user(value: object) -> str:
    if not isinstance(value, str) or not _CEPH_USER.fullmatch(value) or value.startswith("client."):
        raise ValueError('a user is wanted, without "client."')
    return value


def tcp_place(value: object) -> tuple[str, int]:
    match = re.fullmatch(r"\[?([0-9A-Fa-f.:]+)\]?:([0-9]{1,5})", value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[2]) < 65536:
        raise ValueError('an address and a port are wanted, as "192.0.2.1:2376" or "[::]:2376"')
    return str(ipaddress.ip_address(match[1])), int(match[2])


def tls(value: object) -> Tls:
    if not isinstance(value, dict):
        raise ValueError("a table is wanted")
    return Tls(**_table_fields(value, TLS_KEYS, tuple(TLS_KEYS)))


def roles(value: object) -> dict[str, str]:
    take = one_of("read", "operate", "admin")
    if not isinstance(value, dict) or not value:
        raise ValueError('a table is wanted of names in certificates, as "ci" = "operate"')
    return {name: str(take(role)) for name, role in value.items()}


def _each_table(
    value: object, keys: Mapping[str, Key], needed: Sequence[str], add: Callable[[dict[str, Any]], None]
) -> None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"tables are wanted, each with {' and '.join(needed)}")
    for number, content in enumerate(value, 1):
        try:
            add(_table_fields(content, keys, needed))
        except ValueError as error:
            raise ValueError(f"table {number}: {error}") from error


def _table_fields(
    content: Mapping[str, object], keys: Mapping[str, Key], needed: Sequence[str]
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in content.items():
        known = keys.get(key)
        if known is None:
            raise ValueError(f"unknown key {key!r}, known are {', '.join(keys)}")
        try:
            fields[known.field] = known.take(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    for key in needed:
        if key not in content:
            raise ValueError(f"{key} is missing")
    return fields


SIZE_KEYS: dict[str, Key] = {
    "cpu": Key("cpus", whole(1, 1024)),
    "memory": Key("memory_bytes", size),
    "template": Key("template", truth),
    "cache": Key("cache", whole(0, 64)),
}

# For each "require" the fields that it needs, and those that it knows besides.
_OF_REQUIRE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "none": ((), ()),
    "refuse": ((), ()),
    "key": (("keys",), ("trusted_root",)),
    "keyless": (("identities", "issuer", "trusted_root"), ()),
}
RULE_KEYS: dict[str, Key] = {
    "match": Key("match", image_match),
    "require": Key("require", one_of(*_OF_REQUIRE)),
    "keys": Key("keys", paths),
    "identities": Key("identities", texts),
    "issuer": Key("issuer", text),
    "trusted_root": Key("trusted_root", absolute),
}

PLACES = ("root", "run", "host", "cache")  # read by places.py

CLUSTER_KEYS: dict[str, Key] = {
    "monitors": Key("monitors", monitors),
    "user": Key("user", ceph_user),
    "keyring": Key("keyring", absolute),
}

TLS_KEYS: dict[str, Key] = {
    "ca": Key("ca", absolute),
    "certificate": Key("certificate", absolute),
    "key": Key("key", absolute),
    "roles": Key("roles", roles),
}

# The table "" is the file's top.
TABLES: dict[str, dict[str, Key]] = {
    "": {
        "group": Key("group", text),
        "rbd": Key("rbd", clusters),
        "hypervisor": Key("hypervisors", hypervisors),
    },
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
        "hypervisor": Key("hypervisor", text),
        "accel": Key("accelerator", one_of("auto", "kvm", "hvf", "tcg")),
        "qemu": Key("qemu", text),
        "boot_timeout_s": Key("boot_timeout_s", whole(1, 86_400)),
        "disk_full": Key("disk_full", one_of("pause", "error")),
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
        "cni_plugin_dirs": Key("cni_plugin_dirs", paths),
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
    "images": {
        "policy": Key("policy", image_rules),
        "lazy": Key("lazy", one_of("auto", "off")),
        "lazy_min_size": Key("lazy_min_bytes", size),
        "lazy_wait_s": Key("lazy_wait_s", whole(1, 3600)),
        "verity": Key("verity", one_of("off", "auto", "required")),
    },
    "build": {
        "image": Key("image", text),
        "memory": Key("memory_bytes", size),
        "cpus": Key("cpus", cpus),
        "cache_size": Key("cache_size_bytes", size),
        "idle_s": Key("idle_s", whole(0, 86_400)),
    },
    "layers": {
        "max_size": Key("max_bytes", size),
        "max_entries": Key("max_entries", whole(1, 100_000_000)),
        "max_image_size": Key("max_image_bytes", size),
    },
    "volumes": {"type": Key("kind", one_of("disk", "shared"))},
    "docker": {
        "serve": Key("serve", truth),
        "socket": Key("socket", absolute),
        "tcp": Key("tcp", tcp_place),
        "tls": Key("tls", tls),
    },
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
        images=Images(**taken["images"]),
        layers=Layers(**taken["layers"]),
        build=Build(**taken["build"]),
        volumes=Volumes(**taken["volumes"]),
        docker=_docker(taken["docker"], places.file),
        **taken[""],
    )


def _docker(fields: dict[str, Any], file: str) -> Docker:
    made = Docker(**fields)
    if made.tcp is not None and made.tls is None:
        raise InvalidArgument(
            f"{file}: [docker]: tcp without [docker.tls]: whoever reaches it could do anything",
            hint="ca, certificate and key there, and who may do what in [docker.tls.roles]",
        )
    return made


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
