"""Kubernetes' quantities ("250m", "1.5Gi", "1e3"), exactly."""

from __future__ import annotations

import math
import re
from fractions import Fraction

from hypercontainer.errors import InvalidArgument

_FORM = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
MAX = 2**63 - 1


def parse(value: object, where: str) -> Fraction:
    """``value``: text, or the number that YAML made of it.  Never negative."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    match = _FORM.fullmatch(text) if len(text) <= 64 else None
    if match is None:
        raise InvalidArgument(
            f"{where}: {text[:60]!r} is no quantity",
            hint="a number and perhaps a unit: 250m, 64Mi, 1.5G, 1e3",
        )
    sign, digits, unit = match[1], match[2], match[3] or ""
    number = Fraction(digits.rstrip("."))
    if unit in _BINARY:
        number *= 2 ** _BINARY[unit]
    elif unit:
        power = _POWERS[unit] if unit in _POWERS else int(unit[1:])
        number *= Fraction(10) ** power
    if number > MAX:
        raise InvalidArgument(f"{where}: {text!r} is more than 2^63-1")
    if sign == "-" and number:
        raise InvalidArgument(f"{where}: {text!r} is less than nothing")
    return number


def to_bytes(value: object, where: str) -> int:
    return math.ceil(parse(value, where))


def to_millis(value: object, where: str) -> int:
    """Of CPUs: a thousandth is the least there is."""
    return math.ceil(parse(value, where) * 1000)
