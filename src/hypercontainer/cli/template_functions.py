"""What Go's templates hold for true, and the functions that one may call: Go's own and Docker's.

``and`` and ``or`` are the template's own, since they leave the rest alone once they know.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from hypercontainer.cli.template_print import go_text, go_type, sprint, sprintf, sprintln
from hypercontainer.semantics.kinds import NO_VALUE, GoMap, Nil, NoValue

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\n]")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}


def truth(value: Any) -> bool:
    """False for nil, false, 0 and everything empty; a struct is always true."""
    return True if _is_struct(value) else bool(value)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """With escapes for what is no printable character: a terminal may obey those."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        value, separators=separators, indent=indent, ensure_ascii=False, default=lambda _nil: None
    )
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    if match[0].isprintable():
        return match[0]
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _is_struct(value: Any) -> bool:
    return isinstance(value, Mapping) and not isinstance(value, GoMap)


def _index(value: Any, *keys: Any) -> Any:
    """Of a map that has not the key: the zero value.  A struct's fields are found by their names in JSON, since Docker
    tries a template once more on the plain document."""
    for key in keys:
        if value is None or isinstance(value, NoValue):
            raise ValueError("index of untyped nil")
        if isinstance(value, GoMap) or (isinstance(value, Nil) and value.is_map):
            if not isinstance(key, str):
                raise ValueError(f"value has type {go_type(key)}; should be string")
            value = value.get(key, value.zero) if isinstance(value, GoMap) else value.zero
        elif isinstance(value, Mapping) and isinstance(key, str):
            value = value.get(key, NO_VALUE)
        elif isinstance(value, list | tuple | str | Nil):
            if isinstance(key, bool) or not isinstance(key, int):
                raise ValueError(f"cannot index slice/array with type {go_type(key)}")
            items = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            if isinstance(items, Nil) or not 0 <= key < len(items):
                raise ValueError(f"index out of range: {key}")
            value = items[key]
        else:
            raise ValueError(f"can't index item of type {go_type(value)}")
    return value


def _slice(value: Any, *places: Any) -> Any:
    """``value[places[0]:places[1]]``; a text's places are bytes."""
    if isinstance(value, Nil) and not value.is_map:
        value = []
    if not isinstance(value, list | tuple | str):
        raise ValueError(f"can't slice item of type {go_type(value)}")
    if len(places) > (2 if isinstance(value, str) else 3):
        raise ValueError("too many slice indexes")
    items: Any = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    for place in places:
        if isinstance(place, bool) or not isinstance(place, int):
            raise ValueError(f"cannot index slice/array with type {go_type(place)}")
        if not 0 <= place <= len(items):
            raise ValueError(f"index out of range: {place}")
    if any(first > second for first, second in pairwise(places)):
        raise ValueError(f"invalid slice index: {' > '.join(map(str, places))}")
    found = items[slice(*places[:2])] if len(places) > 1 else items[places[0] if places else 0 :]
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if not isinstance(value, Mapping | list | tuple | Nil):
        raise TypeError(f"len of type {go_type(value)}")
    return len(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"wrong type for value; expected string; got {go_type(value)}")
    return value


def _join(items: Any, separator: Any) -> str:
    if not isinstance(items, list | tuple | Nil):
        raise TypeError(f"wrong type for value; expected []string; got {go_type(items)}")
    return _text(separator).join(map(_text, items if isinstance(items, list | tuple) else ()))


def _split(text: Any, separator: Any) -> list[str]:
    return _text(text).split(separator) if _text(separator) else list(text)


def _title(text: Any) -> str:
    return re.sub(r"(?<![\w'])\w", lambda match: match[0].upper(), _text(text))


def _truncate(text: Any, width: int) -> str:
    return _text(text)[:width] if width >= 0 else text


def _pad(text: Any, before: int, after: int) -> str:
    return " " * min(before, 10_000) + text + " " * min(after, 10_000) if _text(text) else ""


def _html(*values: Any) -> str:
    return "".join(_HTML.get(letter, letter) for letter in _shown(values))


def _js(*values: Any) -> str:
    return "".join(
        _JS.get(letter) or (letter if letter.isprintable() else f"\\u{ord(letter):04X}")
        for letter in _shown(values)
    )


def _urlquery(*values: Any) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_shown(values), safe="")


def _shown(values: tuple[Any, ...]) -> str:
    return go_text(values[0]) if len(values) == 1 else sprint(*values)


def _call(function: Any = None, *_arguments: Any) -> Any:
    """There is no value that is a function in what Docker shows."""
    raise TypeError("call of nil" if function is None else f"non-function of type {go_type(function)}")


def _comparable(first: Any, second: Any) -> None:
    kinds = {
        "number" if isinstance(one, int | float) and not isinstance(one, bool) else go_type(one)
        for one in (first, second)
    }
    if len(kinds) > 1:
        raise TypeError("incompatible types for comparison")


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise TypeError("missing argument for comparison")
    for other in others:
        if not isinstance(first, NoValue | None) and not isinstance(other, NoValue | None):
            _comparable(first, other)
    return any(_nil_as_none(first) == _nil_as_none(other) for other in others)


def _nil_as_none(value: Any) -> Any:
    return None if value is NO_VALUE else value


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def run(first: Any, second: Any) -> bool:
        _comparable(first, second)
        if not isinstance(first, int | float | str) or isinstance(first, bool):
            raise TypeError("invalid type for comparison")
        return compare(first, second)

    return run


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": to_json,
    "len": _length,
    "index": _index,
    "slice": _slice,
    "join": _join,
    "split": _split,
    "upper": lambda text: _text(text).upper(),
    "lower": lambda text: _text(text).lower(),
    "title": _title,
    "println": sprintln,
    "print": sprint,
    "printf": lambda form, *values: sprintf(_text(form), *values),
    "truncate": _truncate,
    "pad": _pad,
    "html": _html,
    "js": _js,
    "urlquery": _urlquery,
    "call": _call,
    "not": lambda value: not truth(value),
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _ordered(lambda first, second: first < second),
    "le": _ordered(lambda first, second: first <= second),
    "gt": _ordered(lambda first, second: first > second),
    "ge": _ordered(lambda first, second: first >= second),
}
