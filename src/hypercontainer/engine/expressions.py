"""Expressions that names are looked for with: Go's regular expressions, as Docker's users write them.

They come from clients, so nothing of them may be slow: a search goes through the text once, with all the places in the
expression that it may be at (K. Thompson's way), and never back.  The work is at most the length of the text times
that of the expression, and both are bounded.  What goes beyond regular languages (back references, look-around) Go
does not have either.

A ValueError says what is wrong with an expression.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

MAX_CHARS = 256
MAX_STEPS = 600  # of an expression with its repetitions written out
MAX_DEPTH = 40
MAX_REPEAT = 1000  # Go's

_WORD = frozenset(string.ascii_letters + string.digits + "_")
Ranges = tuple[tuple[str, str], ...]
_DIGITS: Ranges = (("0", "9"),)
_LETTERS: Ranges = (("A", "Z"), ("a", "z"))
_SPACE: Ranges = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_PERL = {"d": _DIGITS, "w": (*_DIGITS, *_LETTERS, ("_", "_")), "s": _SPACE}
_POSIX: dict[str, Ranges] = {
    "alnum": (*_DIGITS, *_LETTERS),
    "alpha": _LETTERS,
    "digit": _DIGITS,
    "lower": (("a", "z"),),
    "upper": (("A", "Z"),),
    "punct": (("!", "/"), (":", "@"), ("[", "`"), ("{", "~")),
    "space": _SPACE,
    "word": _PERL["w"],
    "xdigit": (*_DIGITS, ("A", "F"), ("a", "f")),
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_PLACES = {"A": "begin", "z": "end", "b": "border", "B": "inside"}


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter of ``ranges``, or one that is in none of them."""

    ranges: Ranges
    negated: bool = False

    def takes(self, letters: Collection[str]) -> bool:
        """``letters``: one, in all the forms that count as the same."""
        found = any(low <= letter <= high for low, high in self.ranges for letter in letters)
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Place:
    """``at``: begin, end, border (of a word) or inside (no such border)."""

    at: str


@dataclass(frozen=True, slots=True)
class Series:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """``most`` None: without end."""

    part: Node
    least: int
    most: int | None


Node = Letter | Place | Series | Choice | Repeat


class Expression:
    """One that begins with (?i) does not tell upper from lower case."""

    def __init__(self, source: str) -> None:
        self._folded = source.startswith("(?i)")
        node = _Reader(source.removeprefix("(?i)")).read()
        self._steps: list[tuple[Letter | Place | None, tuple[int, ...]]] = []
        self._work = 0
        self._end = self._add(None, ())
        self._start = self._build(node, self._end)

    def found_in(self, text: str) -> bool:
        """Whether a piece of ``text`` matches."""
        reached: set[int] = set()
        for place in range(len(text) + 1):
            reached = self._spread((*reached, self._start), text, place)
            if self._end in reached:
                return True
            letters = {text[place]} if place < len(text) else set()
            if self._folded:
                letters |= {letter.swapcase() for letter in letters}
            reached = {
                follower
                for step in reached
                if isinstance(what := self._steps[step][0], Letter) and what.takes(letters)
                for follower in self._steps[step][1]
            }
        return False

    def _spread(self, steps: Iterable[int], text: str, place: int) -> set[int]:
        """All steps that these lead to without taking a letter."""
        found: set[int] = set()
        waiting = list(steps)
        while waiting:
            step = waiting.pop()
            if step in found:
                continue
            found.add(step)
            what, followers = self._steps[step]
            if what is None or (isinstance(what, Place) and _is_at(what.at, text, place)):
                waiting += followers
        return found

    def _add(self, what: Letter | Place | None, followers: tuple[int, ...]) -> int:
        self._steps.append((what, followers))
        return len(self._steps) - 1

    def _build(self, node: Node, follower: int) -> int:
        """The first step of ``node``, after which comes ``follower``."""
        self._work += 1  # also of what makes no step: nothing, a thousand times a thousand times
        if self._work > MAX_STEPS:
            raise ValueError("is too long, with its repetitions")
        match node:
            case Letter() | Place():
                return self._add(node, (follower,))
            case Series(parts):
                for part in reversed(parts):
                    follower = self._build(part, follower)
                return follower
            case Choice(parts):
                return self._add(None, tuple(self._build(part, follower) for part in parts))
            case Repeat(part, least, most):
                if most is None:
                    again = self._add(None, ())
                    self._steps[again] = (None, (self._build(part, again), follower))
                    first = again
                else:
                    first = follower
                    for _ in range(most - least):
                        first = self._add(None, (self._build(part, first), follower))
                for _ in range(least):
                    first = self._build(part, first)
                return first


def _is_at(place: str, text: str, at: int) -> bool:
    if place == "begin":
        return at == 0
    if place == "end":
        return at == len(text)
    border = (text[at - 1 : at] in _WORD if at else False) != (text[at : at + 1] in _WORD)
    return border is (place == "border")


class _Reader:
    _REPEATS: ClassVar[dict[str, tuple[int, int | None]]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}

    def __init__(self, source: str) -> None:
        if len(source) > MAX_CHARS:
            raise ValueError(f"is longer than {MAX_CHARS} characters")
        self._rest = source
        self._depth = 0

    def read(self) -> Node:
        node = self._choice()
        if self._rest:
            raise ValueError("has a ) too many")
        return node

    def _take(self, count: int = 1) -> str:
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def _choice(self) -> Node:
        parts = [self._sequence()]
        while self._rest.startswith("|"):
            self._take()
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._rest and self._rest[0] not in "|)":
            parts.append(self._repeated(self._atom()))
        return Series(tuple(parts))

    def _repeated(self, node: Node) -> Node:
        bounds = self._bounds()
        if bounds is None:
            return node
        if self._rest.startswith("?"):  # as little as can be: the same where nobody asks how much
            self._take()
        if self._bounds() is not None:
            raise ValueError("repeats a repetition")
        return Repeat(node, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        if self._rest[:1] in self._REPEATS:
            return self._REPEATS[self._take()]
        inside, brace, _ = self._rest[1:].partition("}")
        least, comma, most = inside.partition(",")
        numbers = [least, *([most] if most else [])]
        if not (self._rest.startswith("{") and brace and all(n.isascii() and n.isdigit() for n in numbers)):
            return None
        self._take(len(inside) + 2)
        low, high = int(least[:5]), (int(most[:5]) if most else None) if comma else int(least[:5])
        if low > MAX_REPEAT or (high is not None and not low <= high <= MAX_REPEAT):
            raise ValueError(f"repeats {{{inside[:20]}}}, which cannot be")
        return low, high

    def _atom(self) -> Node:
        letter = self._take()
        if letter == "(":
            return self._group()
        if letter == "[":
            return self._set()
        if letter == "\\":
            return self._escaped()
        if letter in self._REPEATS:
            raise ValueError(f"has nothing to repeat before {letter}")
        if letter == ".":
            return Letter((("\n", "\n"),), negated=True)
        if letter in "^$":
            return Place("begin" if letter == "^" else "end")
        return Letter(((letter, letter),))

    def _group(self) -> Node:
        if self._rest.startswith("?"):
            named, _, rest = self._rest.partition(">")
            if self._rest.startswith("?:"):
                self._take(2)
            elif rest and named.removeprefix("?P").removeprefix("?").removeprefix("<").isidentifier():
                self._take(len(named) + 1)
            else:
                raise ValueError(f"has ({self._rest[:3]}, which is not known")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("has groups in groups, too deep")
        node = self._choice()
        self._depth -= 1
        if self._take() != ")":
            raise ValueError("lacks a )")
        return node

    def _escaped(self) -> Node:
        letter = self._rest[:1]
        if letter in _PLACES and letter:
            self._take()
            return Place(_PLACES[letter])
        if letter.lower() in _PERL and letter:
            self._take()
            return Letter(_PERL[letter.lower()], negated=letter.isupper())
        one = self._escape()
        return Letter(((one, one),))

    def _escape(self) -> str:
        """The letter that stands behind a backslash."""
        letter = self._take()
        if not letter:
            raise ValueError("ends with a backslash")
        if letter == "x":
            digits = self._take(2)
            if len(digits) != 2 or not all(digit in string.hexdigits for digit in digits):
                raise ValueError("has \\x without two hexadecimal digits")
            return chr(int(digits, 16))
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter.isalnum():
            raise ValueError(f"has \\{letter}, which is not known")
        return letter

    def _set(self) -> Node:
        negated = self._rest.startswith("^")
        if negated:
            self._take()
        ranges: list[tuple[str, str]] = []
        first = True
        while first or not self._rest.startswith("]"):
            if not self._rest:
                raise ValueError("lacks a ]")
            ranges += self._range()
            first = False
        self._take()
        return Letter(tuple(ranges), negated)

    def _range(self) -> Sequence[tuple[str, str]]:
        if self._rest.startswith("[:"):
            name, closed, _ = self._rest[2:].partition(":]")
            if closed and name in _POSIX:
                self._take(len(name) + 4)
                return _POSIX[name]
        letter = self._take()
        if letter == "\\" and self._rest[:1] in _PERL:
            return _PERL[self._take()]
        low = high = self._escape() if letter == "\\" else letter
        if self._rest.startswith("-") and self._rest[1:2] not in ("", "]"):
            self._take()
            letter = self._take()
            high = self._escape() if letter == "\\" else letter
        if low > high:
            raise ValueError(f"has the range {low}-{high}, which ends before it begins")
        return ((low, high),)


def glob(pattern: str) -> Expression:
    """That matches all of a text, as Go's path.Match does: * and ? do not go beyond a slash."""
    made, rest = ["^"], pattern
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
    return Expression("".join([*made, "$"]))


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
