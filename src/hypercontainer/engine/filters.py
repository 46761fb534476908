"""Filters of listings: names and values are checked before anything is looked at, so that a misspelt one is an error
and not an empty list.

A *reader* makes a question of a filter's value, to be asked of each thing; it raises ValueError where that is no value
of the filter, with the rest of a sentence that begins with the value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from hypercontainer.contract import times as moments
from hypercontainer.engine import times
from hypercontainer.engine.expressions import Expression
from hypercontainer.errors import InvalidArgument

T = TypeVar("T")
Filters = Mapping[str, Sequence[str]]
Question = Callable[[T], bool]
Reader = Callable[[str], Question[T]]

EVERY = ("label", "label!")  # the filters of whose values all have to match, not one


def question(things: str, readers: Mapping[str, Reader[T]], filters: Filters | None) -> Question[T]:
    """Whether a thing is wanted: every filter matches, by one of its values (labels: by all), as Docker has it.

    ``things`` for the error: "containers".
    """
    asked = []
    for name, values in (filters or {}).items():
        if name not in readers:
            raise InvalidArgument(
                f"unknown filter {name!r}", hint=f"{things} can be filtered by {', '.join(sorted(readers))}"
            )
        asked.append((all if name in EVERY else any, [_read(readers[name], name, v) for v in values]))
    return lambda thing: all(enough(ask(thing) for ask in asks) for enough, asks in asked)


def _read(reader: Reader[T], name: str, value: str) -> Question[T]:
    try:
        return reader(value)
    except ValueError as error:
        raise InvalidArgument(f"filter {name}: {value[:80]!r} {error}") from None


def expression(names: Callable[[T], Collection[str]]) -> Reader[T]:
    """Matches a piece of one of the names."""

    def read(value: str) -> Question[T]:
        wanted = Expression(value)
        return lambda thing: any(wanted.found_in(name) for name in names(thing))

    return read


def beginning(identifiers: Callable[[T], Collection[str]]) -> Reader[T]:
    """Begins one of the IDs."""
    return lambda value: lambda thing: any(each.startswith(value) for each in identifiers(thing))


def one_of(choices: Collection[str], of: Callable[[T], Collection[str]]) -> Reader[T]:
    """Is among them; ``choices`` are all there can be."""

    def read(value: str) -> Question[T]:
        if value not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return lambda thing: value in of(thing)

    return read


def among(of: Callable[[T], Collection[str]]) -> Reader[T]:
    return lambda value: lambda thing: value in of(thing)


def truth(of: Callable[[T], bool]) -> Reader[T]:
    def read(value: str) -> Question[T]:
        if value not in ("true", "1", "false", "0"):
            raise ValueError("is neither true nor false")
        return lambda thing: of(thing) is (value in ("true", "1"))

    return read


def number(of: Callable[[T], int | None]) -> Reader[T]:
    def read(value: str) -> Question[T]:
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise ValueError("is no number")
        return lambda thing: of(thing) == int(value)

    return read


def before(of: Callable[[T], str]) -> Reader[T]:
    """A moment, that a time lies before."""

    def read(value: str) -> Question[T]:
        moment_ns = moments.moment_ns(value, time.time_ns())  # ValueError is what a reader raises
        return lambda thing: times.to_ns(of(thing)) < moment_ns

    return read


def labels(of: Callable[[T], Mapping[str, str]]) -> Reader[T]:
    """ "key", or "key=value"."""

    def read(value: str) -> Question[T]:
        key, equals, wanted = value.partition("=")
        return lambda thing: key in of(thing) and (not equals or of(thing)[key] == wanted)

    return read


def without_labels(of: Callable[[T], Mapping[str, str]]) -> Reader[T]:
    """Of what ``labels`` tells, the opposite."""
    reader = labels(of)

    def read(value: str) -> Question[T]:
        has = reader(value)
        return lambda thing: not has(thing)

    return read
