"""A plain document held against Kubernetes' own types, field by field.

What Kubernetes does not know is an error that names it; what it knows goes by the table in ``fields.py``.  Gives the
document back without nulls, as a copy that shares nothing with what was read.
"""

from __future__ import annotations

import difflib
import functools
import threading
import types
import typing
from typing import Any, TypeVar

import msgspec

from hypercontainer.contract.reading import told
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube.fields import QUANTITIES, TABLE, VALUES, Fields

_NO_EFFECT = Fields(frozenset())
T = TypeVar("T")
# msgspec builds what it knows of a type at the type's first use, and two threads that do so at once bring the process
# down; these types are too many, and too seldom wanted, to be built when hyperd starts.
_CONVERTING = threading.Lock()


class Check:
    """Of one object.  ``subject`` begins every message; ``reported`` are the fields without effect, each once."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.reported: dict[str, None] = {}

    def error(self, path: str, problem: str, hint: str | None = None) -> InvalidArgument:
        where = f"{self.subject}: {path}" if path else self.subject
        return InvalidArgument(f"{where}: {problem}", hint=hint)

    def walk(self, value: Any, kind: Any, path: str = "", *, decide: bool = True) -> Any:
        """``decide`` False: only whether the fields exist, below one that is without effect as a whole."""
        kind = _plain_type(kind)
        if typing.get_origin(kind) is list and isinstance(value, list):
            (inner,) = typing.get_args(kind)
            value = ["" if one is None and inner is str else one for one in value]
            return [
                self.walk(one, inner, f"{path}[{index}]", decide=decide) for index, one in enumerate(value)
            ]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
            return self._struct(value, kind, path, decide)
        if kind is dict and isinstance(value, dict):  # of amounts, or of texts: null is nothing of these
            nothing = "0" if path.endswith((".limits", ".requests")) else ""
            return {key: nothing if one is None else one for key, one in value.items()}
        return value

    def _struct(
        self, value: dict[str, Any], kind: type[msgspec.Struct], path: str, decide: bool
    ) -> dict[str, Any]:
        known = fields_of(kind)
        table = TABLE.get(kind.__name__, _NO_EFFECT)
        result = {}
        for key, child in value.items():
            below = f"{path}.{key}" if path else key
            if key not in known:
                close = difflib.get_close_matches(key[:80], known, 1)
                hint = f"did you mean {close[0]}?" if close else None
                raise self.error(f"{path}.{key[:80]}" if path else key[:80], "unknown field", hint)
            if child is None:
                continue
            taken = decide and self._decide(table, key, child, below)
            name = f"{kind.__name__}.{key}"
            if name in QUANTITIES and isinstance(child, int | float) and not isinstance(child, bool):
                child = str(child)
            if decide and name in VALUES and isinstance(child, str):
                self._check_value(child, VALUES[name].split(), below)
            result[key] = self.walk(child, known[key], below, decide=taken)
        return result

    def _decide(self, table: Fields, key: str, value: Any, path: str) -> bool:
        if key in table.taken:
            return True
        if value in ("", 0, [], {}):  # as good as not said; False is 0
            return False
        if key not in table.reported:
            raise self.error(path, "not supported", table.refused.get(key))
        self.reported[_without_indices(path)] = None
        return False

    def _check_value(self, value: str, allowed: list[str], path: str) -> None:
        if value and value not in allowed:
            raise self.error(path, f"{value[:60]!r} is not known", "one of " + ", ".join(allowed))

    def convert(self, value: dict[str, Any], kind: type[T]) -> T:
        """``value`` has been walked."""
        try:
            with _CONVERTING:
                return msgspec.convert(value, kind, strict=True)
        except msgspec.ValidationError as error:
            path, problem = told(error)
            hint = "put quotes around it" if problem.endswith("a text is wanted") else None
            raise self.error(path, problem, hint) from None


def fields_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Name in a document -> type."""
    return _fields_of(kind)


@functools.cache
def _fields_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {one.encode_name: one.type for one in msgspec.structs.fields(kind)}


def _plain_type(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        inner = [one for one in typing.get_args(kind) if one is not type(None)]
        return inner[0] if len(inner) == 1 else kind
    return kind


def _without_indices(path: str) -> str:
    return "".join(part.partition("]")[2] if index else part for index, part in enumerate(path.split("[")))
