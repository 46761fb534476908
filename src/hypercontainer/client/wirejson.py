"""JSON without the module `json`, whose regular expressions cost half a Python start: a short command's main expense.

The scanner and the escaping are those that `json` itself uses in CPython (`_json`).
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\r\n"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Context:
    """What `json.JSONDecoder` hands to the scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse)


_scan = make_scanner(_Context())  # type: ignore[arg-type]


def loads(data: bytes) -> Any:
    """ValueError or RecursionError for what is not one JSON value in UTF-8."""
    text = data.decode().strip(_SPACE)
    try:
        value, end = _scan(text, 0)
    except StopIteration as stop:
        raise ValueError(f"no value at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"more than one value: character {end}")
    return value


def dumps(value: object) -> str:
    """ASCII, without spaces."""
    match value:
        case str():
            return encode_basestring_ascii(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case dict():
            return (
                "{" + ",".join(f"{encode_basestring_ascii(key)}:{dumps(value[key])}" for key in value) + "}"
            )
        case list() | tuple():
            return "[" + ",".join(map(dumps, value)) + "]"
    raise TypeError(f"no JSON for {type(value).__name__}")
