"""A Go template's texts and actions, and the tokens of an action."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hypercontainer.cli.options import UsageError

# What stands in quotes or in a comment may hold the signs that end an action.
_ENDS = re.compile(r"""/\*.*?\*/|"(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\\n])*'|\}\}""", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<letter>'(?:\\[^'\n]+|\\'|[^'\\\n])')
    |(?P<number>[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?))
    |(?P<assign>:=|=)
    |(?P<field>(?:\.[^\W\d]\w*)+)|(?P<variable>\$\w*)|(?P<word>[^\W\d]\w*)|(?P<sign>[.|(),]))""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.)|$)", re.DOTALL
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}


class TemplateError(UsageError):
    """The template is wrong, or asks a value for what it has not; ``unknown``: for a field that is never there."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(f"template: {message}", exit_status=1)
        self.unknown = unknown


class Tokens:
    """The tokens of one action, to be taken from the left."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.items: list[tuple[str, str]] = []
        at, end = 0, len(source.rstrip())
        while at < end:
            match = _TOKEN.match(source, at, end)
            if match is None or match.lastgroup is None:
                raise TemplateError(f"unexpected {source[at:end].strip()[:20]!r} in {{{{{source}}}}}")
            self.items.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        place = self.at + ahead
        return self.items[place] if place < len(self.items) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def skip(self, text: str) -> bool:
        if self.peek()[1] == text and self.peek()[0] != "string":
            self.at += 1
            return True
        return False

    def finish(self) -> None:
        if self.peek()[0] != "end":
            raise TemplateError(f"unexpected {self.peek()[1]!r} in {{{{{self.source}}}}}")


def unquote(text: str) -> str:
    """Of a Go literal; TemplateError for an escape that Go has not."""
    if text.startswith("`"):
        return text[1:-1]
    quote = text[0]

    def letter(match: re.Match[str]) -> bytes:
        octal, hexadecimal, short, long, simple = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal, 8) & 255]) if octal else bytes([int(hexadecimal, 16)])
        if short or long:
            code = int(short or long, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise TemplateError(f"bad character in {text[:40]}")
            return chr(code).encode()
        found = simple if simple == quote else _SIMPLE.get(simple or "")
        if found is None:
            raise TemplateError(f"bad escape in {text[:40]}")
        return found.encode()

    out, at, inside = b"", 0, text[1:-1]
    for match in _ESCAPE.finditer(inside):
        out += inside[at : match.start()].encode("utf-8", "surrogateescape") + letter(match)
        at = match.end()
    out += inside[at:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "replace" if quote == "'" else "surrogateescape")


def number(text: str) -> int | float:
    digits = text.lstrip("+-")
    try:
        if digits[:2].lower() in ("0x", "0o", "0b"):
            value: int | float = int(digits, 0)
        elif digits.strip("0123456789_"):
            value = float(digits)
        else:
            value = int(digits, 8 if digits[0] == "0" and len(digits) > 1 else 10)
    except ValueError:
        raise TemplateError(f"bad number {text[:40]}") from None
    return -value if text.startswith("-") else value


def pieces(source: str) -> Iterator[str | Tokens]:
    """Texts, and of each action its tokens; comments are left out."""
    at, trim = 0, False
    while (start := source.find("{{", at)) >= 0:
        end = next((found.start() for found in _ENDS.finditer(source, start) if found[0] == "}}"), -1)
        if end < 0:
            raise TemplateError(f"unclosed action: {source[start : start + 40]}")
        inside = source[start + 2 : end]
        before = source[at:start].lstrip() if trim else source[at:start]
        if re.match(r"-\s", inside):
            inside, before = inside[1:], before.rstrip()
        trim = re.search(r"\s-$", inside) is not None
        if before:
            yield before
        if not inside.lstrip().startswith("/*"):
            yield Tokens(inside[:-1] if trim else inside)
        at = end + 2
    rest = source[at:].lstrip() if trim else source[at:]
    if rest:
        yield rest
