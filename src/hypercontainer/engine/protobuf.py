"""Messages of protocol buffers, as the few fields that somebody asks for; no schema, no compiler.

A message is a list of fields: an int of a varint, bytes of what has a length.  What has a fixed width is kept as bytes,
so that a message that is changed is otherwise what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class Malformed(ValueError):
    """It is no message."""


@dataclass(frozen=True, slots=True)
class Field:
    number: int
    value: int | bytes
    kind: int = BYTES


Message = list[Field]


def read(data: bytes) -> Message:
    found, at = [], 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        value: int | bytes
        if kind == VARINT:
            value, at = _read_varint(data, at)
        else:
            length = _WIDTHS.get(kind, 0)
            if kind == BYTES:
                length, at = _read_varint(data, at)
            if not (kind == BYTES or length) or at + length > len(data):
                raise Malformed("a field is cut off, or of no kind that there is")
            value, at = data[at : at + length], at + length
        found.append(Field(tag >> 3, value, kind))
    return found


def written(message: Iterable[Field]) -> bytes:
    out = bytearray()
    for field in message:
        out += _varint(field.number << 3 | field.kind)
        if isinstance(field.value, int):
            out += _varint(field.value)
            continue
        if field.kind == BYTES:
            out += _varint(len(field.value))
        out += field.value
    return bytes(out)


def text(number: int, value: str) -> Field:
    return Field(number, value.encode("utf-8", "replace"))


def number(at: int, value: int) -> Field:
    return Field(at, value, VARINT)


def all_of(message: Message, number: int) -> list[bytes]:
    """Of a field that has a length, each value that it has."""
    return [each.value for each in message if each.number == number and isinstance(each.value, bytes)]


def last_text(message: Message, number: int) -> str:
    """ "" where it is not given."""
    values = all_of(message, number)
    return values[-1].decode("utf-8", "replace") if values else ""


def last_number(message: Message, number: int) -> int:
    """0 where it is not given."""
    values = [each.value for each in message if each.number == number and isinstance(each.value, int)]
    return values[-1] if values else 0


def table(message: Message, number: int) -> dict[str, str]:
    """A map of strings."""
    pairs = [read(each) for each in all_of(message, number)]
    return {last_text(pair, 1): last_text(pair, 2) for pair in pairs}


def table_fields(number: int, values: dict[str, str]) -> Message:
    return [Field(number, written([text(1, key), text(2, value)])) for key, value in values.items()]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        number |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at
    raise Malformed("a number is cut off")
