"""LogConfig of the body: where a container's output goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hypercontainer.contract.sizes import size_bytes
from hypercontainer.contract.spec import LogConfig, Syslog
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker.create.body import LogConfig as Given

# What an option is for; those that mean nothing here are taken: all of a log is kept as it comes, and nobody waits.
_FILE: Final = frozenset(("max-size", "max-file", "compress", "mode", "max-buffer-size"))
_SHOWN: Final = frozenset(("labels", "labels-regex", "env", "env-regex", "tag"))
_SYSLOG: Final = frozenset(("syslog-address", "syslog-facility", "syslog-format"))
_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "file": _FILE | _SHOWN,
    "json-file": _FILE | _SHOWN,
    "local": _FILE,
    "none": frozenset(),
    "syslog": _SYSLOG | _SHOWN | {"mode", "max-buffer-size"},
}
_DRIVERS: Final = {"file": "file", "json-file": "file", "local": "file", "none": "none", "syslog": "syslog"}


def config(given: Given) -> LogConfig:
    kind, options = given.type or "", given.config or {}
    if not kind and not options:
        return LogConfig()
    if (kind or "json-file") not in _DRIVERS:
        raise InvalidArgument(
            f"logger: no log driver named '{kind}' is registered", hint="json-file, local, none or syslog"
        )
    kind = kind or "json-file"
    if unknown := sorted(options.keys() - _TAKEN[kind]):
        raise InvalidArgument(f"unknown log opt '{unknown[0]}' for {kind} log driver")
    made: dict[str, Any] = {"driver": _DRIVERS[kind]}
    if "max-size" in options:
        made["max_size_bytes"] = _size(options["max-size"])
    if "max-file" in options:
        made["max_files"] = _number(options["max-file"])
    if kind == "syslog":
        said = {name.removeprefix("syslog-"): options[name] for name in (*_SYSLOG, "tag") if name in options}
        made["syslog"] = Syslog(**said)
    return LogConfig(**made)


def shown(given: Given) -> dict[str, Any]:
    """It again, whole; {} where it says nothing."""
    if not given.type and not given.config:
        return {}
    return {"Type": given.type or "json-file", "Config": given.config or {}}


def _size(text: str) -> int | None:
    try:
        return size_bytes(text) if text != "-1" else None
    except ValueError:
        raise InvalidArgument(f"invalid size: '{text[:40]}'") from None


def _number(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10_000:
        raise InvalidArgument(f"max-file cannot be {text[:40]!r}: a number from 1 on")
    return int(text)
