"""Fields of the tree as what they should be, read leniently; every complaint says where.

Keys are matched without case, numbers and booleans may be strings, an absent value, ``null`` and ``""`` are the same
where nothing else is said.  Whoever has read all of a table's fields calls ``done``, and what nobody asked for
becomes a warning.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from hypercontainer.contract.spec import NAME_MAX
from hypercontainer.errors import InvalidArgument
from hypercontainer.podfile.tree import Tree, shown

NAME = re.compile(rf"[a-zA-Z0-9][a-zA-Z0-9_.-]{{0,{NAME_MAX - 1}}}")
NAME_HINT = f"1 to {NAME_MAX} of [a-zA-Z0-9_.-], beginning with a letter or digit"
MAX_WARNINGS = 100
_MAX_KEYS_SHOWN = 10
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0", ""), False),
}


@dataclass
class Warnings:
    """What the user is told beside the pod; bounded, because a file may be anything."""

    where: str
    texts: list[str] = field(default_factory=list)

    def add(self, path: str, text: str) -> None:
        if len(self.texts) < MAX_WARNINGS:
            self.texts.append(f"{place(self.where, path)}: {text}")
        elif len(self.texts) == MAX_WARNINGS:
            self.texts.append(f"{place(self.where, '')}: there are more warnings")


def place(where: str, path: str) -> str:
    return f"podfile {where}: {path}" if path else f"podfile {where}"


def is_empty(tree: Tree) -> bool:
    if isinstance(tree, dict):
        return all(is_empty(item) for item in tree.values())
    if isinstance(tree, list):
        return all(is_empty(item) for item in tree)
    return tree in (None, "")


class Table:
    """A mapping at ``path`` ("" is the podfile itself)."""

    def __init__(self, tree: Mapping[str, Tree], path: str, warnings: Warnings) -> None:
        self.path = path
        self.warnings = warnings
        self._values: dict[str, Tree] = {}
        self._keys: dict[str, str] = {}  # as typed
        self._asked: set[str] = set()
        for key, value in tree.items():
            folded = key.casefold()
            if folded in self._values:
                raise self.error("", f"{shown(self._keys[folded])} and {shown(key)} are one key")
            self._values[folded] = value
            self._keys[folded] = key

    # -------------------------------------------------------------------------------------------- complaints

    def at(self, key: str) -> str:
        """The path of a field, as the documentation spells it."""
        return f"{self.path}.{key}" if self.path and key else self.path or key

    def error(self, key: str, text: str, hint: str | None = None) -> InvalidArgument:
        return InvalidArgument(f"{place(self.warnings.where, self.at(key))}: {text}", hint=hint)

    def warn(self, key: str, text: str) -> None:
        self.warnings.add(self.at(key), text)

    def done(self) -> None:
        unknown = [key for folded, key in self._keys.items() if folded not in self._asked]
        if unknown:
            names = ", ".join(shown(key, 40) for key in unknown[:_MAX_KEYS_SHOWN])
            more = len(unknown) - _MAX_KEYS_SHOWN
            self.warn("", f"not known, ignored: {names}{f' and {more} more' if more > 0 else ''}")

    # ------------------------------------------------------------------------------------------------ fields

    def raw(self, key: str) -> Tree:
        folded = key.casefold()
        self._asked.add(folded)
        return self._values.get(folded)

    def said(self, key: str) -> bool:
        return not is_empty(self.raw(key))

    def text(self, key: str, default: str = "") -> str:
        value = self.raw(key)
        if value in (None, ""):
            return default
        return self._text(value, key)

    def needed(self, key: str) -> str:
        text = self.text(key)
        if not text:
            raise self.error(key, "missing" if self.raw(key) is None else "empty")
        return text

    def _text(self, value: Tree, key: str) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, str):
            raise self.error(key, f"{_kind(value)} where text is expected")
        if "\0" in value:
            raise self.error(key, "a NUL character in it")
        return self.encodable(value, key)

    def encodable(self, text: str, key: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.error(key, "half of a surrogate pair in it") from None
        return text

    def flag(self, key: str, default: bool = False) -> bool:
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        found = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
        if found is None:
            raise self.error(key, f"{_quoted(value)} is neither true nor false")
        return found

    def number(self, key: str, low: int, high: int, default: int = 0) -> int:
        """Between ``low`` and ``high``; what was not said is ``default``, which may lie outside."""
        value = self.raw(key)
        if value in (None, ""):
            return default
        word = value.strip() if isinstance(value, str) else ""
        if not _INTEGER.fullmatch(word):
            raise self.error(key, f"{_quoted(value)} is no whole number")
        if not low <= int(word) <= high:
            raise self.error(key, f"{word} is not within {low} to {high}")
        return int(word)

    def name(self, key: str) -> str | None:
        text = self.text(key)
        if text and not NAME.fullmatch(text):
            raise self.error(key, f"{shown(text)} is no name", NAME_HINT)
        return text or None

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(
            self._text("" if item is None else item, f"{key}[{number}]")
            for number, item in enumerate(self._list(key))
        )

    def words(self, key: str) -> tuple[str, ...] | None:
        """A command: a list, or one text as a shell would split it.  None: not said."""
        value = self.raw(key)
        if not isinstance(value, str):
            return self.texts(key) or None
        try:
            return tuple(shlex.split(self._text(value, key))) or None
        except ValueError as error:
            raise self.error(key, f"{shown(value)}: {str(error).lower()}", "or a list of words") from None

    def pairs(self, key: str) -> dict[str, str]:
        value = self.raw(key)
        if value in (None, "", []):
            return {}
        if not isinstance(value, dict):
            raise self.error(key, f"{_kind(value)} where a mapping is expected")
        return {
            self._text(name, key): self._text("" if item is None else item, f"{key}.{shown(name)}")
            for name, item in value.items()
        }

    def table(self, key: str) -> Table | None:
        value = self.raw(key)
        if value in (None, "", []):
            return None
        if not isinstance(value, dict):
            raise self.error(key, f"{_kind(value)} where a mapping is expected")
        return Table(value, self.at(key), self.warnings)

    def tables(self, key: str) -> list[Table]:
        tables = []
        for number, item in enumerate(self._list(key)):
            if not isinstance(item, dict):
                raise self.error(f"{key}[{number}]", f"{_kind(item)} where a mapping is expected")
            tables.append(Table(item, self.at(f"{key}[{number}]"), self.warnings))
        return tables

    def _list(self, key: str) -> list[Tree]:
        value = self.raw(key)
        if value in (None, "", {}):
            return []
        if not isinstance(value, list):
            raise self.error(key, f"{_kind(value)} where a list is expected")
        return value


def _quoted(value: Tree) -> str:
    return shown(value) if isinstance(value, str) else _kind(value)


def _kind(value: Tree) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else "text"
