"""Which files of a context are not sent: .dockerignore as the builder reads it.

The rules are those of github.com/moby/patternmatcher and of the walk of github.com/tonistiigi/fsutil.  The builder
applies them again to what it is sent: this only keeps from sending what it would not look at.
"""

from __future__ import annotations

import re

from hypercontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

EXACT, PREFIX, SUFFIX, REGEXP = range(4)
_ESCAPED = frozenset(".+()|{}$")
_WILD = frozenset("*[]?^")


def lines(text: str) -> list[str]:
    """The patterns of an ignore file, "!" before those that are exceptions."""
    found = []
    for line in text.removeprefix("\ufeff").split("\n"):
        if line.startswith("#") or not (pattern := line.strip()):
            continue
        exception = pattern.startswith("!")
        if exception:
            pattern = pattern[1:].strip()
        if pattern:
            pattern = clean(pattern)
            pattern = pattern[1:] if len(pattern) > 1 and pattern[0] == "/" else pattern
        found.append("!" + pattern if exception else pattern)
    return found


def clean(path: str) -> str:
    """As Go's path.Clean."""
    rooted, kept = path.startswith("/"), list[str]()
    for part in path.split("/"):
        if part == ".." and kept and kept[-1] != "..":
            kept.pop()
        elif (part == ".." and rooted) or part in ("", "."):
            continue
        else:
            kept.append(part)
    return ("/" if rooted else "") + "/".join(kept) or "."


class Pattern:
    def __init__(self, text: str) -> None:
        self.exception = text.startswith("!")
        self.text = text[1:] if self.exception else text
        if self.exception and not self.text:
            raise InvalidArgument('.dockerignore: "!" alone is no exception', hint="a pattern follows it")
        self.kind, self._expression = _compiled(self.text)
        try:
            self._regexp = re.compile(self._expression) if self.kind == REGEXP else None
        except re.error as error:
            raise InvalidArgument(f".dockerignore: {self.text!r} is no pattern: {error}") from None

    @property
    def beginning(self) -> str:
        """What of it has no "**" or "*" of a whole name at its end."""
        return self.text.removesuffix("/**").removesuffix("/*")

    def matches(self, path: str) -> bool:
        if self._regexp is not None:
            return self._regexp.fullmatch(path) is not None
        if self.kind == PREFIX:
            return path.startswith(self.text[:-2])
        if self.kind == SUFFIX:
            rest = self.text[2:]
            return path.endswith(rest) or (rest.startswith("/") and path == rest[1:])
        return path == self.text


def _compiled(text: str) -> tuple[int, str]:
    """(kind, regular expression)."""
    kind, made, at = EXACT, "", 0
    while at < len(text):
        letter, first = text[at], at == 0
        at += 1
        if text.startswith("**", at - 1):
            at += 1
            at += text.startswith("/", at)
            if at < len(text):
                made, kind = made + "(.*/)?", REGEXP
            elif kind == EXACT:
                kind = PREFIX
            else:
                made, kind = made + ".*", REGEXP
            if first:
                kind = SUFFIX
        elif letter in "*?":
            made, kind = made + ("[^/]*" if letter == "*" else "[^/]"), REGEXP
        elif letter in _ESCAPED:
            made += "\\" + letter
        elif letter == "\\":
            made += "\\" + text[at : at + 1]
            kind = REGEXP if at < len(text) else kind
            at += 1
        else:
            made += letter
            kind = REGEXP if letter in "[]" else kind
    return kind, made


class Rules:
    def __init__(self, patterns: Sequence[str]) -> None:
        stripped = (pattern.strip() for pattern in patterns)
        self.patterns = [Pattern(clean(pattern)) for pattern in stripped if pattern]
        exceptions = [pattern.beginning for pattern in self.patterns if pattern.exception]
        self._wild = any(_WILD & set(each) for each in exceptions)
        self._exceptions = [each + "/" for each in exceptions]

    def at(self, path: str, above: Sequence[bool]) -> tuple[bool, list[bool]]:
        """Whether it is ignored, and which patterns match it or what it is in; ``above``: of its directory, () at the
        top."""
        ignored, matched = False, []
        for number, pattern in enumerate(self.patterns):
            match = bool(above) and above[number]
            if not match and pattern.exception == ignored:
                match = pattern.matches(path)
            matched.append(match)
            if match:
                ignored = not pattern.exception
        return ignored, matched

    def may_except_below(self, directory: str) -> bool:
        return bool(self._exceptions) and (
            self._wild or any(each.startswith(directory + "/") for each in self._exceptions)
        )


class Sieve:
    """At one directory of a context."""

    def __init__(self, rules: Rules, path: str = "", matched: Sequence[bool] = ()) -> None:
        self._rules, self._path, self._matched = rules, path, matched

    def below(self, name: str, *, directory: bool) -> Sieve | None:
        """For what has this name in it; None: it is not sent, nor what is in it.  What is ignored and has exceptions in
        it is sent."""
        path = f"{self._path}/{name}" if self._path else name
        ignored, matched = self._rules.at(path, self._matched)
        if ignored and not (directory and self._rules.may_except_below(path)):
            return None
        return Sieve(self._rules, path, matched)
