"""Sizes as Docker's users write them; powers of 1024."""

from __future__ import annotations

_FACTORS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}
_MOST = 2**63


def size_bytes(text: str) -> int:
    """Of "256m", "1.5g", "64KiB" or plain bytes.  A ValueError says what is wrong, as the end of a sentence that begins
    with the text."""
    word = text.strip().lower()
    number = word.rstrip("abcdefghijklmnopqrstuvwxyz").rstrip()
    unit = word[len(number) :].strip()
    if len(unit) > 1:
        unit = unit.removesuffix("b").removesuffix("i")
    try:
        if number.strip("0123456789."):
            raise ValueError
        value = float(number) * _FACTORS[unit]
        if value >= _MOST:
            raise ValueError
    except (ValueError, KeyError):
        raise ValueError("is no size") from None
    return int(value)
