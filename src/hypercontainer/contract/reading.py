"""What is wrong with JSON, in words that do without the schema's: its types, patterns and paths are no user's."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from hypercontainer.errors import InvalidArgument

_TYPES = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
    "bytes": "base64",
}
_AT = re.compile(r"^(.*?)(?: - at `(?:key in )?\$(.*)`)?$", re.DOTALL)
_WORDINGS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"Expected `([^`]*)`, got `([^`]*)`", lambda m: f"is {_type(m[2])}; {_type(m[1])} is wanted"),
    (r"Expected `[^`]*` matching regex .*", lambda _m: "is not of the form that is wanted"),
    (r"Expected `[^`]*` >= (.*)", lambda m: f"is less than {m[1]}"),
    (r"Expected `[^`]*` <= (.*)", lambda m: f"is more than {m[1]}"),
    (r"Expected `(\w*)[^`]*` of length >= 1", lambda m: f"is {_empty(m[1])}"),
    (r"Expected `[^`]*` of length >= (\d+)", lambda m: f"is shorter than {m[1]}"),
    (r"Expected `[^`]*` of length <= (\d+)", lambda m: f"is longer than {m[1]}"),
    (
        r"Expected `[^`]*` of (?:at most )?length (\d+)(?:, got (\d+))?",
        lambda m: f"has not the length {m[1]}",
    ),
    (r"Expected `[^`]*` that's a multiple of (.*)", lambda m: f"is no multiple of {m[1]}"),
    (r"Object contains unknown field `([^`]*)`", lambda m: f"there is no field {m[1]!r}"),
    (r"Object missing required field `([^`]*)`", lambda m: f"{m[1]} is missing"),
    (r"Invalid enum value (.*)", lambda m: f"{m[1]} is not one of its values"),
    (r"Invalid base64 encoded string", lambda _m: "is no base64"),
    (r"JSON is malformed: (.*)", lambda m: f"is no JSON: {m[1]}"),
    (r"Input data was truncated", lambda _m: "is no JSON: it ends too early"),
)


def refused(error: Exception, kind: Any = None, *, of: str = "") -> InvalidArgument:
    """What msgspec has against JSON that was to be a ``kind``; ``of``: what is named where no field is, such as
    "body"."""
    field, problem = told(error)
    if not field:
        return InvalidArgument(f"{of}: {problem}" if of else problem)
    return InvalidArgument(problem, field=field, takes=_taken(kind, field))


def why(error: Exception) -> str:
    """As one sentence."""
    field, problem = told(error)
    return f"{field}: {problem}" if field else problem


def told(error: Exception) -> tuple[str, str]:
    """(field, what is wrong with it, as the end of a sentence that begins with it); "" of the whole."""
    match = _AT.match(str(error))
    assert match is not None
    problem = match[1]
    for pattern, say in _WORDINGS:
        if found := re.fullmatch(pattern, problem, re.DOTALL):
            return (match[2] or "").lstrip("."), say(found)
    return (match[2] or "").lstrip("."), problem[:1].lower() + problem[1:].replace("`", "")


def _type(names: str) -> str:
    return (
        " or ".join(dict.fromkeys(_TYPES.get(name, name) for name in names.split(" | ") if name != "null"))
        or "null"
    )


def _empty(name: str) -> str:
    return "empty"


def _taken(kind: Any, field: str) -> str | None:
    """What a field's type says of itself (Meta's description)."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return None
    known = {one.encode_name: one.type for one in msgspec.structs.fields(kind)}
    wanted = known.get(field)
    if typing.get_origin(wanted) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(wanted)))
    metas = getattr(wanted, "__metadata__", ())
    return next((meta.description for meta in metas if getattr(meta, "description", None)), None)
