"""Text with any number of YAML or JSON documents -> plain values, within bounds, whoever wrote it.

YAML is taken event by event: nothing recurses, aliases are counted as what they stand for, a key that is there twice
is an error, and scalars mean what Kubernetes takes them for (no dates, no numbers to the base of 60).  Raises
InvalidArgument and nothing else.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
from decimal import Decimal
from typing import Any

import yaml

from hypercontainer.errors import InvalidArgument

MAX_TEXT_CHARS = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 200_000  # aliases counted as what they stand for
MAX_DOCUMENTS = 500

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"([-+]?)(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
# YAML 1.1's, as kubectl has them.
_TRUE = frozenset("y Y yes Yes YES true True TRUE on On ON".split())
_FALSE = frozenset("n N no No NO false False FALSE off Off OFF".split())
_MERGE = object()


def load(text: str) -> list[Any]:
    """The documents that are not empty, in their order."""
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidArgument(f"the manifest has more than {MAX_TEXT_CHARS} characters")
    if text.lstrip()[:1] == "{":
        try:
            return [_from_json(text)]
        except ValueError:
            pass  # several in a row, or YAML's flow style
    try:
        return _Builder().run(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidArgument(f"the manifest is not YAML: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        problem = str(error).splitlines()[0]
        raise InvalidArgument(f"the manifest is not YAML: {problem}") from None


def _from_json(text: str) -> Any:
    def no_constant(name: str) -> Any:
        raise InvalidArgument(f"the manifest has a number that is none: {name}")

    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=no_constant)
    except RecursionError:
        raise InvalidArgument(f"the manifest is nested more than {MAX_DEPTH} levels deep") from None
    level, count = [value], 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        for scalar in level:
            if isinstance(scalar, str):
                _check_characters(scalar)
        level = [child for one in level for child in _children(one)]
        if not level:
            return value
        if count > MAX_VALUES:
            raise InvalidArgument(f"the manifest has more than {MAX_VALUES} values")
    raise InvalidArgument(f"the manifest is nested more than {MAX_DEPTH} levels deep")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidArgument(f"the manifest has the key {twice[:60]!r} twice in one object")
    return found


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("the manifest has text with half a surrogate pair") from None


class _Open:
    """A list or mapping that is still being read; ``size`` counts what is in it."""

    def __init__(self, value: list[Any] | dict[str, Any], anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.size = 1
        self.key: Any = None  # of a mapping whose value comes next
        self.merged: list[Any] = []

    @property
    def wants_key(self) -> bool:
        return self.key is None and isinstance(self.value, dict)

    def add(self, value: Any, size: int, line: int) -> None:
        self.size += size
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.key is None:
            text = "<<" if value is _MERGE else _key(value)
            if text is None:
                raise InvalidArgument(f"the manifest has a key that is no text in line {line}")
            if text in self.value:
                raise InvalidArgument(
                    f"the manifest has the key {text[:60]!r} twice in one object, again in line {line}"
                )
            self.key = _MERGE if value is _MERGE else text
        else:
            if self.key is _MERGE:
                self.merged += value if isinstance(value, list) else [value]
            else:
                self.value[self.key] = value
            self.key = None

    def close(self) -> list[Any] | dict[str, Any]:
        for source in self.merged:
            if not isinstance(source, dict):
                raise InvalidArgument("the manifest merges (<<) something that is no mapping")
            assert isinstance(self.value, dict)
            for key, value in source.items():
                self.value.setdefault(key, value)
        return self.value


class _Builder:
    """Events in, documents out."""

    def __init__(self) -> None:
        self._documents: list[Any] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._stack: list[_Open] = []
        self._total = 0

    def run(self, text: str) -> list[Any]:
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
            elif isinstance(event, yaml.MappingStartEvent):
                self._open({}, event, line)
            elif isinstance(event, yaml.SequenceStartEvent):
                self._open([], event, line)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                closed = self._stack.pop()
                self._put(closed.close(), closed.size, closed.anchor, line)
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self._anchors:
                    raise InvalidArgument(f"the manifest has an alias of nothing in line {line}")
                value, size = self._anchors[event.anchor]
                self._put(value, size, None, line)
            elif isinstance(event, yaml.ScalarEvent):
                self._put(_scalar(event, line), 1, event.anchor, line)
        return self._documents

    def _open(self, value: list[Any] | dict[str, Any], event: Any, line: int) -> None:
        if event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
            raise _unknown_tag(event.tag, line)
        if len(self._stack) >= MAX_DEPTH:
            raise InvalidArgument(f"the manifest is nested more than {MAX_DEPTH} levels deep in line {line}")
        self._stack.append(_Open(value, event.anchor))

    def _put(self, value: Any, size: int, anchor: str | None, line: int) -> None:
        if value is _MERGE and not (self._stack and self._stack[-1].wants_key):
            value = "<<"
        self._total += size
        if self._total > MAX_VALUES:
            raise InvalidArgument(
                f"the manifest has more than {MAX_VALUES} values", hint="aliases count as what they stand for"
            )
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if self._stack:
            self._stack[-1].add(value, size, line)
        elif value is not None:
            self._documents.append(value)
            if len(self._documents) > MAX_DOCUMENTS:
                raise InvalidArgument(f"the manifest has more than {MAX_DOCUMENTS} documents")


def _scalar(event: Any, line: int) -> Any:
    text: str = event.value
    _check_characters(text)
    tag = event.tag
    if tag in (None, "!"):
        return _plain(text) if event.implicit[0] else text
    kind = tag.removeprefix(_TAG)
    if kind in ("str", "binary"):
        return text
    value = _plain(text)
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(kind)
    if wanted is None:
        raise _unknown_tag(tag, line)
    if not isinstance(value, wanted):
        raise InvalidArgument(f"{text[:60]!r} is no {kind} in line {line}")
    return value


def _plain(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text == "<<":
        return _MERGE
    if len(text) > 40:  # no number that means anything here
        return text
    if match := _INT.fullmatch(text):
        return _integer(match[1], match[2].replace("_", ""))
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def _key(value: Any) -> str | None:
    """A scalar as the key of a mapping: what kubectl makes of it (``1: a`` has the key "1", ``yes: a`` the key "true").
    None: it cannot be one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**63 else None
    if isinstance(value, float):
        return _short(value)
    return value if isinstance(value, str) else None


def _short(number: float) -> str:
    """The shortest decimal that is this number in 32 bits, as Go's FormatFloat(number, 'g', -1, 32) writes it."""
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    single = ctypes.c_float(number).value
    if math.isinf(single):
        return ".inf" if single > 0 else "-.inf"
    if single == 0:
        return "-0" if number < 0 else "0"
    digits = next(
        text for more in range(9) if ctypes.c_float(float(text := f"{single:.{more}e}")).value == single
    )
    mantissa, _, exponent = digits.partition("e")
    if -4 <= int(exponent) < 6:
        return format(Decimal(digits), "f")
    return f"{mantissa}e{exponent}"


def is_text(text: str) -> bool:
    """Whether a plain scalar is taken for text, so that it needs no quotes on this account."""
    return isinstance(_plain(text), str)


def _integer(sign: str, digits: str) -> int:
    base = {"0b": 2, "0x": 16, "0o": 8}.get(digits[:2], 8 if digits[0] == "0" and len(digits) > 1 else 10)
    digits = digits[2:] if base != 10 and digits[1:2] in ("b", "x", "o") else digits
    value = int(digits or "0", base)
    return -value if sign == "-" else value


def _unknown_tag(tag: str, line: int) -> InvalidArgument:
    return InvalidArgument(f"the manifest has the tag {tag[:60]!r} in line {line}, which is not taken")
