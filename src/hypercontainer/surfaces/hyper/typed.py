"""The routes (``contract/routes.py``) with the types that they name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hypercontainer.contract import answers, builds, calls, images, networks, policies, spec, volume_calls
from hypercontainer.contract.calls import Request
from hypercontainer.contract.routes import Route, routes


@dataclass(frozen=True)
class Operation:
    """``answer`` is None where there is none."""

    route: Route
    query: type[Request]
    body: type[msgspec.Struct]
    answer: Any

    @property
    def method(self) -> str:
        return self.route.method

    @property
    def segments(self) -> Sequence[str]:
        return self.route.segments


def type_of(name: str) -> Any:
    for module in (calls, volume_calls, answers, images, spec, networks, policies, builds):
        if name in vars(module):
            return vars(module)[name]
    raise LookupError(f"no type {name} in the contract")


OPERATIONS = tuple(
    Operation(
        route,
        query=type_of(route.query),
        body=type_of(route.body),
        answer=type_of(route.answer) if route.answer else None,
    )
    for route in routes()
)
