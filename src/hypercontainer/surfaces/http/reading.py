"""The strict reading of a request's query and body into structs."""

from __future__ import annotations

import functools
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from hypercontainer.contract.reading import refused, why
from hypercontainer.errors import InvalidArgument

S = TypeVar("S", bound=msgspec.Struct)

MAX_QUERY_FIELDS = 200


def read_query(text: str, kind: type[S]) -> S:
    """A field of a sequence type may be given several times, one of a mapping type is JSON."""
    try:
        pairs = parse_qsl(text, keep_blank_values=False, max_num_fields=MAX_QUERY_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidArgument(f"query: {error}") from error
    containers = _containers(kind)
    given: dict[str, Any] = {}
    for name, value in pairs:
        outer = containers.get(name)
        if outer is tuple:
            given.setdefault(name, []).append(value)
        elif name in given:
            raise InvalidArgument(f"query: {name} is given twice")
        else:
            given[name] = _json(value, name) if outer is dict else value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise refused(error, kind, of="query") from None


@functools.cache
def _containers(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """For each field tuple, dict, or whatever stands outermost in its type."""
    found = {}
    for item in msgspec.structs.fields(kind):
        outer = item.type
        while hasattr(outer, "__metadata__"):  # Annotated
            outer = outer.__origin__
        found[item.name] = getattr(outer, "__origin__", outer)
    return found


def is_json(kind: Any) -> bool:
    """Whether a query's field of this type is given as JSON."""
    return getattr(kind, "__origin__", kind) is dict


def _json(text: str, name: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(why(error), field=name, takes="JSON") from None


def read_body(data: bytes, kind: type[S]) -> S:
    """An empty body is an empty object."""
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise refused(error, kind, of="body") from None
