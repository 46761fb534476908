"""What Go prints for a value, what it holds for true, and the functions a template may call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any


def go_text(value: Any) -> str:
    """As fmt.Print shows it: ``<no value>``, ``true``, ``map[a:b]``, ``[x y]``."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "map[" + " ".join(f"{go_text(key)}:{_inner(value[key])}" for key in sorted(value)) + "]"
        case list() | tuple():
            return "[" + " ".join(_inner(item) for item in value) + "]"
        case float() if value.is_integer() and abs(value) < 1e21:
            return str(int(value))
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else go_text(value)


def truth(value: Any) -> bool:
    """False for nil, false, 0 and everything empty."""
    return bool(value)


def to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise ValueError("index of untyped nil")
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list | tuple | str) and isinstance(key, int) and 0 <= key < len(value):
            value = value[key]
        else:
            raise ValueError(f"no index {go_text(key)} in {go_text(value)[:60]}")
    return value


def _length(value: Any) -> int:
    if not isinstance(value, Mapping | list | tuple | str):
        raise TypeError(f"len of {go_text(value)}")
    return len(value)


def _truncate(text: Any, width: int) -> str:
    return str(text)[:width]


def _pad(text: Any, before: int, after: int) -> str:
    return " " * before + str(text) + " " * after if text else str(text)


def _printf(form: str, *values: Any) -> str:
    import re

    rest = list(values)

    def put(match: re.Match[str]) -> str:
        verb = match[2]
        if verb == "%":
            return "%"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        shown = json.dumps(str(value), ensure_ascii=False) if verb == "q" else value
        if verb in "vsqt":
            return f"%{match[1]}s" % (shown if verb == "q" else go_text(value))
        return str(f"%{match[1]}{verb}" % value)

    return re.sub(r"%([-+ 0#]*\d*(?:\.\d+)?)([%vsqdxXfgt])", put, form)


def _and(*values: Any) -> Any:
    return next((value for value in values if not truth(value)), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if truth(value)), values[-1])


def _equal(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": to_json,
    "len": _length,
    "index": _index,
    "join": lambda items, separator: str(separator).join(go_text(item) for item in items or ()),
    "split": lambda text, separator: str(text).split(separator),
    "upper": lambda text: str(text).upper(),
    "lower": lambda text: str(text).lower(),
    "title": lambda text: str(text)[:1].upper() + str(text)[1:],
    "println": lambda *values: " ".join(map(go_text, values)) + "\n",
    "print": lambda *values: "".join(map(go_text, values)),
    "printf": _printf,
    "truncate": _truncate,
    "pad": _pad,
    "and": _and,
    "or": _or,
    "not": lambda value: not truth(value),
    "eq": _equal,
    "ne": lambda first, second: bool(first != second),
    "lt": lambda first, second: bool(first < second),
    "le": lambda first, second: bool(first <= second),
    "gt": lambda first, second: bool(first > second),
    "ge": lambda first, second: bool(first >= second),
}
