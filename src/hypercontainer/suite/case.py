"""The cases: each one statement of the contract, as a coroutine function of a harness, and what it needs for that."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hypercontainer.suite import cases as package

Test = Callable[..., Awaitable[None]]


@dataclass(frozen=True)
class Case:
    """``needs`` are words that ``Harness.has`` knows; ``run`` is called with the harness."""

    name: str
    needs: tuple[str, ...]
    run: Test

    def __str__(self) -> str:
        return self.name


_cases: dict[str, Case] = {}


def case(*needs: str, params: Mapping[str, tuple[Any, ...]] | None = None) -> Callable[[Test], Test]:
    """Of a coroutine function ``name(harness, *arguments)``; ``params`` makes a case of each of its names."""

    def register(test: Test) -> Test:
        name = test.__name__
        for key, arguments in (params or {"": ()}).items():
            one = Case(f"{name}-{key}" if key else name, needs, partial(_called, test, arguments))
            assert one.name not in _cases, f"two cases {one.name}"
            _cases[one.name] = one
        return test

    return register


async def _called(test: Test, arguments: tuple[Any, ...], harness: Any) -> None:
    await test(harness, *arguments)


def cases() -> list[Case]:
    """All there are, in the order of their modules' names and of the modules."""
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda one: one.name):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return list(_cases.values())
