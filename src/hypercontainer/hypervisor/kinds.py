"""The kinds of drivers, and how one is made of what the configuration says.

A kind is a function ``make(name, settings, host) -> Driver``.  ``settings`` is its table ``[hypervisor.NAME]``, without
``driver``, by which several drivers of a kind have names of their own.  It raises ``InvalidArgument`` for a key that it
does not know, a value that is none, and one that it needs and has not; it connects to nothing and runs nothing yet.
Kinds from outside this project are entry points of the group ``GROUP``, by the name of their kind.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from hypercontainer.contract.networks import Subnet
from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.driver import Driver, Lan

GROUP = "hypercontainer.hypervisors"
# In this package, each in a module ``kind`` of a folder of its own.
OURS: tuple[str, ...] = ("cloud-hypervisor", "esx", "firecracker", "libvirt", "virtualbox", "xen")
DRIVER = "driver"  # the key that says the kind, where that is not the name

log = logging.getLogger(__name__)

Settings = Mapping[str, object]


@dataclass(frozen=True)
class Host:
    """What a driver has of this machine.  ``facts``: the file of what was found out; ``state``: a folder of its own,
    which it makes when it needs it; ``uids``: of VMs' processes, empty where this process is not root."""

    facts: Path
    state: Path
    uids: range = range(0)


Make = Callable[[str, Settings, Host], Driver]


def make_all(tables: Mapping[str, Settings], host: Host, taken: frozenset[str]) -> list[Driver]:
    """Those that are configured, and of each kind one of its name that needs no settings.  ``taken``: names that others
    have.  InvalidArgument for a table that is no good."""
    kinds = _kinds()
    drivers = []
    for name, table in tables.items():
        kind = table.get(DRIVER, name)
        if name in taken or kind not in kinds:
            hint = f"there are {', '.join(sorted(kinds))}"
            what = "is no table of its own" if name in taken else f"there is no driver {kind!r}"
            raise InvalidArgument(f"[hypervisor.{name}]: {what}", hint=hint)
        settings = {key: value for key, value in table.items() if key != DRIVER}
        try:
            drivers.append(kinds[str(kind)]()(name, settings, _own(host, name)))
        except InvalidArgument as error:
            raise InvalidArgument(f"[hypervisor.{name}]: {error.message}", hint=error.hint) from error
    for kind, load in kinds.items():
        if kind not in tables and kind not in taken:
            drivers += _unasked(kind, load, host)
    return drivers


def _own(host: Host, name: str) -> Host:
    return Host(host.facts, host.state / name, host.uids)


def _unasked(kind: str, load: Callable[[], Make], host: Host) -> list[Driver]:
    """None where it needs settings, or is from outside and is no good."""
    try:
        return [load()(kind, {}, _own(host, kind))]
    except InvalidArgument:
        return []
    except Exception as error:
        if kind in OURS:
            raise
        log.error("the driver %s, which is not of this project, is passed over: %s", kind, error)
        return []


def _kinds() -> dict[str, Callable[[], Make]]:
    """Ours cannot be replaced."""
    ours = {kind: lambda kind=kind: _ours(kind) for kind in OURS}
    others = {point.name: point.load for point in metadata.entry_points(group=GROUP)}
    return {**others, **ours}


def _ours(kind: str) -> Make:
    folder = kind.replace("-", "")
    module: Any = importlib.import_module(f"hypercontainer.hypervisor.{folder}.kind")
    make: Make = module.make
    return make


# ------------------------------------------------------------------------------------- settings


class Reading:
    """A table, key by key; ``done`` refuses what nobody has asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: list[str] = []

    def text(self, key: str, default: str = "", pattern: str = r"[^\0-\x1f\x7f]{1,1024}") -> str:
        value = self._value(key, default)
        if value == default:
            return default
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise InvalidArgument(f"{key} = {value!r}", hint=f"text that fits {pattern}")
        return value

    def needed(self, key: str) -> str:
        if key not in self._settings:
            raise InvalidArgument(f"{key} is missing")
        return self.text(key)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidArgument(f"{key} = {value!r}", hint=f"a whole number from {low} to {high}")
        return value

    def truth(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise InvalidArgument(f"{key} = {value!r}", hint="true or false")
        return value

    def path(self, key: str, default: Path | None = None) -> Path | None:
        value = self._value(key, None)
        if value is None:
            return default
        if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
            raise InvalidArgument(f"{key} = {value!r}", hint="an absolute path")
        return Path(value)

    def one_of(self, key: str, default: str, *choices: str) -> str:
        value = self._value(key, default)
        if value not in choices:
            raise InvalidArgument(f"{key} = {value!r}", hint=" or ".join(choices))
        return str(value)

    def lan(self, default: str = "") -> Lan | None:
        """A network that exists, by the keys that each kind has for it; None where ``subnet`` is not said."""
        network, dns = self.text("network", default), self.texts("dns")
        subnet, gateway = self.text("subnet"), self.text("gateway")
        wished = Subnet(subnet, gateway, self.text("range"))
        if not subnet:
            return None
        try:
            whole, pool = (ipaddress.IPv4Network(each) for each in (subnet, wished.ip_range or subnet))
            named = [ipaddress.IPv4Address(each) for each in (*dns, *([gateway] if gateway else []))]
        except ValueError as error:
            raise InvalidArgument(
                str(error), hint='as subnet = "192.0.2.0/24", gateway = "192.0.2.1"'
            ) from error
        if not pool.subnet_of(whole) or (gateway and named[-1] not in whole):
            raise InvalidArgument(f"range and gateway are not in {whole}")
        return Lan(network, wished, dns)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._value(key, ())
        if not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
            raise InvalidArgument(f"{key} = {value!r}", hint="a list of strings")
        return value

    def _value(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._settings.get(key, default)

    def done(self) -> None:
        if unknown := sorted(set(self._settings) - set(self._known)):
            raise InvalidArgument(f"unknown key {unknown[0]!r}", hint=f"known are {', '.join(self._known)}")
