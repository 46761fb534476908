"""Requests and limits, and what a container is told of them (resourceFieldRef)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import quantity
from hypercontainer.kube.context import Context, Node

if TYPE_CHECKING:
    from lightkube.models import core_v1

_STORAGE = "ephemeral-storage"
_KNOWN = ("cpu", "memory", _STORAGE)


@dataclass(frozen=True)
class Amounts:
    """None: not said.  A request that is not said is the limit, where there is one."""

    memory_limit_bytes: int | None = None
    memory_request_bytes: int | None = None
    cpu_limit_millis: int | None = None
    cpu_request_millis: int | None = None
    storage_limit_bytes: int | None = None
    storage_request_bytes: int | None = None


def amounts(given: core_v1.ResourceRequirements | None, ctx: Context, path: str) -> Amounts:
    if given is None:
        return Amounts()
    limits = _read(given.limits, ctx, f"{path}.limits")
    requests = {**limits, **_read(given.requests, ctx, f"{path}.requests")}
    for name, limit in limits.items():
        if requests[name] > limit:
            raise InvalidArgument(f"{ctx.at(path)}: the request of {name} is more than its limit")
    return Amounts(
        limits.get("memory"),
        requests.get("memory"),
        limits.get("cpu"),
        requests.get("cpu"),
        limits.get(_STORAGE),
        requests.get(_STORAGE),
    )


def _read(given: Mapping[Any, Any] | None, ctx: Context, path: str) -> dict[str, int]:
    """Memory and storage in bytes, CPUs in thousandths."""
    found = {}
    for name, value in (given or {}).items():
        where = ctx.at(f"{path}.{str(name)[:80]}")
        if name not in _KNOWN:
            raise InvalidArgument(f"{where}: not to be had", hint=f"resources: {', '.join(_KNOWN)}")
        found[name] = quantity.to_millis(value, where) if name == "cpu" else quantity.to_bytes(value, where)
        if name == _STORAGE:
            ctx.warn(f"{path}.{name}", "has no effect; the pod's disk is limited as a whole")
        if name == "memory" and str(value).endswith("m"):
            ctx.warn(f"{path}.{name}", f"{value} is thousandths of a byte; Mi was probably meant")
    return found


def field_value(selector: core_v1.ResourceFieldSelector, own: Amounts, node: Node, where: str) -> str:
    """``own``: of the container that the selector means."""
    kind, _, name = selector.resource.partition(".")
    if kind not in ("limits", "requests") or name not in _KNOWN:
        hint = ", ".join(f"{kind}.{name}" for kind in ("limits", "requests") for name in _KNOWN)
        raise InvalidArgument(f"{where}: {selector.resource[:80]!r} is not known", hint=f"one of {hint}")
    unit = "millis" if name == "cpu" else "bytes"
    value: int | None = getattr(own, f"{name.partition('-')[2] or name}_{kind[:-1]}_{unit}")
    if value is None and kind == "requests":
        value = 0
    if value is None:
        whole = {"cpu": node.cpus and node.cpus * 1000, "memory": node.memory_bytes}.get(name)
        if whole is None:
            raise InvalidArgument(f"{where}: the container has no {selector.resource}", hint="give it one")
        value = whole
    divisor = quantity.parse(selector.divisor or "0", f"{where}.divisor") or Fraction(1)
    return str(math.ceil((Fraction(value, 1000) if name == "cpu" else Fraction(value)) / divisor))
