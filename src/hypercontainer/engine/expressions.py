"""Expressions that names are looked for with: Go's regular expressions, as Docker's users write them, by RE2 (ADR 16).

They come from clients: RE2's time grows with the text's length alone, and its memory has a bound.

A ValueError says what is wrong with an expression.
"""

from __future__ import annotations

from typing import Any

MAX_CHARS = 256
MAX_MEMORY_BYTES = 1 << 20


class Expression:
    """``whole``: that matches all of a text, not only some of it."""

    def __init__(self, source: str, *, whole: bool = False) -> None:
        if len(source) > MAX_CHARS:
            raise ValueError(f"has more than {MAX_CHARS} characters")
        import re2  # 15 ms, which no start of hyperd has to wait for

        options = re2.Options()
        options.log_errors, options.max_mem = False, MAX_MEMORY_BYTES
        try:
            self._compiled: Any = re2.compile(source, options)
        except re2.error as error:
            raise ValueError(f"is no expression: {error.args[0].decode(errors='replace')}") from None
        self._find = self._compiled.fullmatch if whole else self._compiled.search

    def found_in(self, text: str) -> bool:
        return self._find(text) is not None


def glob(pattern: str) -> Expression:
    """That matches all of a text, as Go's path.Match does: * and ? do not go beyond a slash."""
    made, rest = [], pattern
    while rest:
        letter, rest = rest[0], rest[1:]
        if letter == "[":
            inside, rest = _glob_set(rest)
            made.append(f"[{inside}]")
        elif letter == "\\":
            if not rest:
                raise ValueError("ends with a backslash")
            made.append(_literal(rest[0]))
            rest = rest[1:]
        else:
            made.append({"*": "[^/]*", "?": "[^/]"}.get(letter) or _literal(letter))
    return Expression("".join(made), whole=True)


def _glob_set(rest: str) -> tuple[str, str]:
    """(what is in the brackets, what comes after them)."""
    inside = ""
    if rest.startswith("^"):
        inside, rest = "^", rest[1:]
    begun = inside
    while rest and (rest[0] != "]" or inside == begun):
        letter, rest = rest[0], rest[1:]
        if letter == "\\":
            letter, rest = rest[:1], rest[1:]
            inside += _literal(letter)
        else:
            inside += letter if letter == "-" else _literal(letter)
    if not rest:
        raise ValueError("lacks a ]")
    return inside, rest[1:]


def _literal(letter: str) -> str:
    return letter if letter.isalnum() or not letter.isascii() or letter == "_" else f"\\{letter}"
