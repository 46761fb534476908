"""What every part of the fake engine (`fake_engine`) can do besides its work: note how it was called, fail, wait."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Notes:
    """``calls``: (name, what it was asked of, arguments) of each.  A method raises ``error`` if there is one, waits for
    ever where ``hold`` names it, and does or answers what ``stand_ins`` has for it in its own place."""

    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    stand_ins: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    refuses: bool = False  # a stream's ``error`` comes when it is asked for, not when it is read
    hold: set[str] = field(default_factory=set)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def enter(self, name: str) -> None:
        self.entered.set()
        if name in self.hold:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if self.error is not None:
            raise self.error


class Noted:
    """``of``: the name of the collection that calls are noted under.  Public methods are noted; those of a subclass
    keep their signatures."""

    notes: Notes
    id = ""
    _of = ""

    def __init_subclass__(cls, *, of: str) -> None:
        cls._of = of
        for name, method in list(vars(cls).items()):
            if not name.startswith("_") and name != "held" and inspect.isfunction(method):
                wrap = _coroutine if inspect.iscoroutinefunction(method) else _stream
                setattr(cls, name, wrap(f"{of}.{name}", method))


def _note(name: str, method: Callable[..., Any], owner: Noted, args: Any, options: Any) -> None:
    given = inspect.signature(method).bind(owner, *args, **options)
    given.apply_defaults()
    arguments = dict(given.arguments)
    arguments.pop("self")
    owner.notes.calls.append((name, owner.id, arguments))


def _coroutine(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(self: Noted, *args: Any, **options: Any) -> Any:
        _note(name, method, self, args, options)
        await self.notes.enter(name)
        if name not in self.notes.stand_ins:
            return await method(self, *args, **options)
        answer = self.notes.stand_ins[name]
        return await answer(*args, **options) if inspect.iscoroutinefunction(answer) else answer

    return call


def _stream(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """Of a method that returns an iterator: ``hold`` may name its end, too ("system.events:end")."""

    @functools.wraps(method)
    def call(self: Noted, *args: Any, **options: Any) -> AsyncIterator[Any]:
        _note(name, method, self, args, options)
        if self.notes.refuses and self.notes.error is not None:
            raise self.notes.error
        return _items(self.notes, name, method(self, *args, **options))

    return call


async def _items(notes: Notes, name: str, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    await notes.enter(name)
    async for item in items:
        yield item
    if f"{name}:end" in notes.hold:
        await notes.enter(f"{name}:end")
