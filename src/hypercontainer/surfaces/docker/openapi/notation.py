"""The source of the description, read: types and calls with the versions that have them.  Notation: the package."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from hypercontainer.surfaces.docker.versions import LEAST, Version

FOREVER: Version = (99, 0)
# Any call may have these: a request that cannot be read, one that may not be, a head or a body that is too slow or too
# large, a fault of ours, what a VM has not, too many clients.
COMMON_ERRORS = (400, 403, 408, 413, 431, 500, 501, 503)
JSON = "application/json"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Span:
    """Versions: the first that has it, and the first that has it no longer."""

    since: Version = LEAST
    until: Version = FOREVER

    def __contains__(self, version: Version) -> bool:
        return self.since <= version < self.until


@dataclass(frozen=True)
class Field:
    """``optional``, ``null``: the versions in which it may be left out, may be null."""

    name: str
    type: str
    span: Span = Span()
    optional: Span = Span(FOREVER)
    null: Span = Span(FOREVER)
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Media:
    """``name`` "": no Content-Type."""

    name: str
    span: Span = Span()


@dataclass(frozen=True)
class Reply:
    """``kind``: value, lines, bytes, text, nothing or upgrade; ``type``: of a value or of lines; ``protocol``: of an
    upgrade."""

    kind: str
    type: str = ""
    media: tuple[Media, ...] = ()
    protocol: str = ""


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    span: Span
    replies: Mapping[int, Reply]
    errors: tuple[int, ...]
    query: tuple[Field, ...] = ()
    body: str = ""
    takes: str = ""
    headers: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Source:
    """``types``: name -> fields by name."""

    types: Mapping[str, Mapping[str, Field]] = field(repr=False)
    operations: Mapping[str, Operation] = field(repr=False)


@functools.cache
def source() -> Source:
    said: dict[str, dict[str, Any]] = {"types": {}, "calls": {}}
    for file in sorted(resources.files(__package__).iterdir(), key=lambda each: each.name):
        if file.name.endswith(".yaml"):
            for part, entries in yaml.load(file.read_text(), Loader=_LOADER).items():  # noqa: S506
                said[part].update(entries)
    types = {name: {each.name: each for each in _fields(name, said["types"])} for name in said["types"]}
    return Source(types, {name: _operation(name, given) for name, given in said["calls"].items()})


def version(text: str) -> Version:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _fields(name: str, types: Mapping[str, Mapping[str, str]]) -> Iterator[Field]:
    for key, text in types[name].items():
        if key == "also":
            yield from _fields(text, types)
        else:
            yield _field(key, text)


def _field(name: str, text: str) -> Field:
    type_, *words = text.split()
    said = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    optional, null = Span(FOREVER), Span(FOREVER)
    if "optional" in said:
        optional = Span(version(said["optional"]) if said["optional"] else LEAST)
    if "null-until" in said:
        null = Span(until=version(said["null-until"]))
    choices = tuple(said["one-of"].split(",")) if "one-of" in said else ()
    return Field(name, type_, _span(said), optional, null, choices)


def _span(said: Mapping[str, str]) -> Span:
    since = version(said["since"]) if "since" in said else LEAST
    return Span(since, version(said["until"]) if "until" in said else FOREVER)


def _operation(name: str, given: Mapping[Any, Any]) -> Operation:
    method, path = name.split()
    return Operation(
        method,
        path,
        _span({key: given[key] for key in ("since", "until") if key in given}),
        {status: _reply(text) for status, text in given.items() if isinstance(status, int)},
        tuple(sorted({*COMMON_ERRORS, *map(int, str(given.get("errors", "")).split())})),
        query=tuple(_field(key, text) for key, text in given.get("query", {}).items()),
        body=given.get("body", ""),
        takes=given.get("takes", ""),
        headers=tuple(given.get("headers", "").split()),
        refuses=tuple(given.get("refuses", "").split()),
    )


def _reply(text: str) -> Reply:
    first, *words = text.split()
    if first == "lines":
        return Reply("lines", words[0], (Media(JSON), *map(_media, words[1:])))
    if first == "bytes":
        return Reply("bytes", media=tuple(map(_media, words)))
    if first == "upgrade":
        return Reply("upgrade", protocol=words[0])
    if first == "text":
        return Reply("text", media=(Media("text/plain"),))
    return Reply("nothing") if first == "nothing" else Reply("value", first, (Media(JSON),))


def _media(word: str) -> Media:
    name, _, since = word.partition(">=")
    return Media("" if name == "none" else name, Span(version(since)) if since else Span())
