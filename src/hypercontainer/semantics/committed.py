"""A container's settings as those of an image that is made of it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypercontainer.contract.answers import Effective
from hypercontainer.contract.probes import Healthcheck

USUAL_STOP_SIGNAL = "SIGTERM"


def run_config(made: Effective, labels: Mapping[str, str], volumes: Iterable[str]) -> dict[str, Any]:
    """The "config" object of its image's configuration (OCI image specification 1.1, Docker's for the rest); what is
    not said is left out.  ``volumes``: the image's own."""
    found: dict[str, Any] = {
        "User": made.user,
        "ExposedPorts": {port: {} for port in made.exposed},
        "Env": list(made.env),
        "Entrypoint": list(made.entrypoint),
        "Cmd": list(made.command),
        "Volumes": {path: {} for path in (*volumes, *made.volumes)},
        "WorkingDir": made.working_dir,
        "Labels": dict(labels),
        "StopSignal": "" if made.stop_signal == USUAL_STOP_SIGNAL else made.stop_signal,
        "Healthcheck": _healthcheck(made.healthcheck),
        "Shell": list(made.shell),
    }
    return {name: value for name, value in found.items() if value}


_MAPS = ("ExposedPorts", "Volumes", "Labels")


def over(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` with what ``wanted`` says in its place, each the "config" object of an image's configuration: maps and
    variables together, an entrypoint with the command that it says, or none."""
    said = {name: value for name, value in wanted.items() if value}
    merged = {**own, **said}
    for name in _MAPS:
        if both := {**own.get(name, {}), **said.get(name, {})}:
            merged[name] = both
    variables = [*own.get("Env", ()), *said.get("Env", ())]
    if variables:
        merged["Env"] = list({each.partition("=")[0]: each for each in variables}.values())
    if "Entrypoint" in said and "Cmd" not in said:
        merged.pop("Cmd", None)
    return merged


def _healthcheck(check: Healthcheck | None) -> dict[str, Any]:
    if check is None:
        return {}
    said = {
        "Test": list(check.test),
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {name: value for name, value in said.items() if value}
