"""What Go's package fmt prints for a value.  Source: its documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hypercontainer.semantics.kinds import NO_VALUE, GoMap, Nil, NoValue, Struct

MAX_WIDTH = 10_000  # of a cell; Go has no bound that would matter

_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_QUOTED |= {"\\": "\\\\", '"': '\\"'}
_VERB = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d*))?(.)?", re.DOTALL)


def go_text(value: Any) -> str:
    """As a template shows it: ``<no value>``, ``true``, ``map[a:b]``, ``[x y]``, a struct as ``{x y}``."""
    return "<no value>" if value is NO_VALUE else _plain(value)


def _plain(value: Any, *, names: bool = False) -> str:
    match value:
        case None | NoValue():
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case Nil():
            return value.text
        case GoMap():
            return "map[" + " ".join(f"{key}:{_plain(value[key], names=names)}" for key in value) + "]"
        case Mapping():
            value = value.whole if isinstance(value, Struct) else value
            shown = (f"{name}:" * names + _plain(item, names=names) for name, item in value.items())
            return "{" + " ".join(shown) + "}"
        case list() | tuple():
            return "[" + " ".join(_plain(item, names=names) for item in value) + "]"
        case float():
            return _shortest(value)
    return str(value)


def _shortest(value: float) -> str:
    """%g with as many digits as are needed: 1.5, 1e+06."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    digits, _, exponent = f"{value:.16e}".partition("e")
    for precision in range(17):
        digits, _, exponent = f"{value:.{precision}e}".partition("e")
        if float(f"{digits}e{exponent}") == value:
            break
    if -4 <= int(exponent) < 6:
        return f"{value:.{max(0, len(digits.lstrip('-').replace('.', '')) - 1 - int(exponent))}f}"
    return f"{digits}e{exponent}"


def go_type(value: Any) -> str:
    match value:
        case None | NoValue():
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case GoMap():
            return "map[string]interface {}"
        case Nil():
            return "[]interface {}" if not value.is_map else "map[string]interface {}"
        case list() | tuple():
            return "[]interface {}"
    return "struct"


def sprint(*values: Any) -> str:
    """Print's: a space between two of which neither is a text."""
    out = ""
    for place, value in enumerate(values):
        apart = place and not isinstance(value, str) and not isinstance(values[place - 1], str)
        out += " " * bool(apart) + _plain(value)
    return out


def sprintln(*values: Any) -> str:
    return " ".join(map(_plain, values)) + "\n"


def quoted(text: str) -> str:
    """%q: a Go string literal."""
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(letter: str) -> str:
    if letter in _QUOTED:
        return _QUOTED[letter]
    code = ord(letter)
    if letter.isprintable():
        return letter
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sprintf(form: str, *values: Any) -> str:
    """As Go: what does not fit its verb is shown as ``%!d(string=web)``, and nothing is an error."""
    rest = list(values)

    def number(digits: str | None) -> int:
        return min(int(digits or 0), MAX_WIDTH)

    def put(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if verb is None:
            return "%!(NOVERB)"
        if not rest:
            return f"%!{verb}(MISSING)"
        value = rest.pop(0)
        shown = _by_verb(verb, flags, value, None if precision is None else number(precision))
        if shown is None:
            return f"%!{verb}({go_type(value)}={_plain(value)})" if value is not None else f"%!{verb}(<nil>)"
        if "-" in flags:
            return shown.ljust(number(width))
        if "0" in flags and verb not in "svq":
            sign = shown[:1] if shown[:1] in ("-", "+") else ""
            return sign + shown[len(sign) :].rjust(number(width) - len(sign), "0")
        return shown.rjust(number(width))

    text = _VERB.sub(put, form)
    if rest:
        text += "%!(EXTRA " + ", ".join(f"{go_type(value)}={_plain(value)}" for value in rest) + ")"
    return text


def _by_verb(verb: str, flags: str, value: Any, precision: int | None) -> str | None:
    """Without its width; None where the verb is not for such a value."""
    if verb == "T":
        return go_type(value)
    if verb == "v":
        return _plain(value, names="+" in flags)
    if isinstance(value, list | tuple | Nil | GoMap) and verb != "t":
        return _each(verb, flags, value, precision)
    if isinstance(value, str):
        text = value if precision is None else value[:precision]
        hexadecimal = text.encode("utf-8", "surrogateescape").hex()
        return {"s": text, "q": quoted(text), "x": hexadecimal, "X": hexadecimal.upper()}.get(verb)
    if isinstance(value, bool):
        return _plain(value) if verb == "t" else None
    if isinstance(value, int):
        return _integer(verb, flags, value)
    if isinstance(value, float) and verb in "eEfFgG":
        if verb in "gG" and precision is None:
            return _shortest(value)
        return f"{value:{'+' * ('+' in flags)}.{6 if precision is None else precision}{verb}}"
    return None


def _each(verb: str, flags: str, value: Any, precision: int | None) -> str | None:
    items = value if isinstance(value, list | tuple) else []
    shown = [_by_verb(verb, flags, item, precision) for item in items]
    if isinstance(value, GoMap):
        shown = [f"{key}:{_by_verb(verb, flags, value[key], precision)}" for key in value]
    if isinstance(value, GoMap) or (isinstance(value, Nil) and value.is_map):
        return "map[" + " ".join(map(str, shown)) + "]"
    return "[" + " ".join(map(str, shown)) + "]"


def _integer(verb: str, flags: str, value: int) -> str | None:
    sign = "+" if "+" in flags else " " if " " in flags else ""
    if verb in "dxXob":
        return f"{value:{sign}{'#' if '#' in flags and verb != 'd' else ''}{verb}}"
    if verb in "cqU" and 0 <= value < 0x110000:
        return {"c": chr(value), "q": f"'{chr(value)}'", "U": f"U+{value:04X}"}[verb]
    return None
