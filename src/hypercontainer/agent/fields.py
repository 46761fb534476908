"""Fields on the wire <-> frozen dataclasses, from the dataclasses' annotations.

A record's attribute says which tag carries it, and the tag says how::

    @dataclass(frozen=True, slots=True)
    class Rlimit:
        resource: Annotated[int, Tag.RESOURCE]

``tuple[X, ...]`` is a repeated tag.  A value equal to the attribute's default is left out, and a missing field
becomes the default.  Behind the tag may stand ``ALWAYS`` and ``AtMost``.  Decoding refuses what the record does not
name: unknown tags, a scalar given twice, wrong lengths, lists beyond LIST_MAX.  Hostile input costs time and
memory linear in its length.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from hypercontainer.agent.wire import FIELD, FIELD_HEADER, MESSAGE_MAX, Kind, Tag
from hypercontainer.errors import AgentProtocolError, InvalidArgument

T = TypeVar("T")

LIST_MAX = 16384
_SPACES = str.maketrans("\t\n\v\f\r", "     ")
ALWAYS = "always"  # sent whatever its value is, though the guest can do without it


class AtMost(NamedTuple):
    """So many bytes of text the guest takes here, where its tag allows more."""

    bytes_max: int


def field(tag: int, value: bytes) -> bytes:
    return FIELD.pack(tag, 0, len(value)) + value


def split(data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """(tag, value) of every field of ``data``."""
    view, at, end = memoryview(data), 0, len(data)
    while at < end:
        if end - at < FIELD_HEADER:
            raise AgentProtocolError("a field's header is cut short")
        tag, zero, length = FIELD.unpack_from(view, at)
        at += FIELD_HEADER
        if zero or length > end - at:
            raise AgentProtocolError(f"field {tag} has a wrong header: {length} bytes of {end - at}")
        yield tag, bytes(view[at : at + length])
        at += length


def _integer(size: int, signed: bool, tag: Tag) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    def pack(value: Any) -> bytes:
        try:
            return int(value).to_bytes(size, "little", signed=signed)
        except OverflowError:
            raise InvalidArgument(f"{tag.name.lower()}: {value} does not fit in {size * 8} bits") from None

    def unpack(value: bytes) -> Any:
        if len(value) != size:
            raise AgentProtocolError(f"field {tag.name} has {len(value)} bytes, not {size}")
        return int.from_bytes(value, "little", signed=signed)

    return pack, unpack


def _text(shown: bool, tag: Tag) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    def pack(value: Any) -> bytes:
        if "\0" in value:
            raise InvalidArgument(f"{tag.name.lower()}: {value!r} contains a NUL character")
        return bytes(value.encode("utf-8", "surrogateescape"))

    def unpack(value: bytes) -> Any:
        if shown:
            return printable(value)
        if b"\0" in value:
            raise AgentProtocolError(f"field {tag.name} contains a NUL character")
        return value.decode("utf-8", "surrogateescape")

    return pack, unpack


def printable(value: bytes) -> str:
    """A guest's text in one line, with everything replaced that could do more on a terminal than be read."""
    text = value.decode("utf-8", "replace").translate(_SPACES)
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One attribute of a record: its tag and how it travels."""

    name: str
    tag: Tag
    element: Any  # the record's type, where the kind is NESTED
    repeated: bool
    always: bool
    bytes_max: int  # what the guest takes; 0: as many as a message holds
    default: Any  # MISSING where the field must be there
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


def _codec(tag: Tag, element: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    if tag.kind is Kind.NESTED:
        return encode, functools.partial(decode, element)
    if tag.kind is Kind.FLAG:
        _, number = _integer(4, False, tag)
        return (lambda value: b"\1\0\0\0" if value else b"\0\0\0\0"), (lambda value: bool(number(value)))
    if tag.kind is Kind.BYTES:
        return bytes, bytes
    if tag.kind in (Kind.TEXT, Kind.SHOWN):
        return _text(tag.kind is Kind.SHOWN, tag)
    return _integer(8 if tag.kind is Kind.U64 else 4, tag.kind is Kind.I32, tag)


_known: dict[type[Any], tuple[Slot, ...]] = {}


def slots_of(cls: type[Any]) -> tuple[Slot, ...]:
    """The fields of a record, in the order in which they are sent."""
    if (slots := _known.get(cls)) is None:
        slots = _known[cls] = tuple(_read_slots(cls))
    return slots


def _read_slots(cls: type[Any]) -> Iterator[Slot]:
    hints = get_type_hints(cls, include_extras=True)
    for attribute in dataclasses.fields(cls):
        annotation = hints[attribute.name]
        if get_origin(annotation) is not Annotated:
            raise TypeError(f"{cls.__name__}.{attribute.name} names no tag")
        inner, tag, *how = get_args(annotation)
        repeated = get_origin(inner) is tuple
        element = get_args(inner)[0] if repeated else _without_none(inner)
        most = next((bound.bytes_max for bound in how if isinstance(bound, AtMost)), tag.bytes_max)
        codec = _codec(tag, element)
        yield Slot(attribute.name, tag, element, repeated, ALWAYS in how, most, attribute.default, *codec)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def encode(record: Any) -> bytes:
    """The fields of a record.  InvalidArgument where a value does not fit its field."""
    parts: list[bytes] = []
    for slot in slots_of(type(record)):
        value = getattr(record, slot.name)
        if slot.repeated:
            parts.extend(field(slot.tag, slot.pack(item)) for item in value)
        elif value is not None and (slot.always or value != slot.default):
            parts.append(field(slot.tag, slot.pack(value)))
    data = b"".join(parts)
    if len(data) > MESSAGE_MAX - FIELD_HEADER:
        raise InvalidArgument(
            f"{type(record).__name__}: {len(data)} bytes are more than a message holds ({MESSAGE_MAX})"
        )
    return data


def decode(cls: type[T], data: bytes | memoryview) -> T:
    """The record that ``data`` holds.  AgentProtocolError where it is not exactly one."""
    slots = {int(slot.tag): slot for slot in slots_of(cls)}
    values: dict[str, Any] = {slot.name: [] for slot in slots.values() if slot.repeated}
    for tag, raw in split(data):
        slot = slots.get(tag)
        if slot is None:
            raise AgentProtocolError(f"{cls.__name__}: unknown field {tag}")
        if slot.repeated:
            if len(values[slot.name]) >= LIST_MAX:
                raise AgentProtocolError(f"{cls.__name__}: more than {LIST_MAX} times {slot.tag.name}")
            values[slot.name].append(slot.unpack(raw))
        elif slot.name in values:
            raise AgentProtocolError(f"{cls.__name__}: field {slot.tag.name} is given twice")
        else:
            values[slot.name] = slot.unpack(raw)
    for slot in slots.values():
        if slot.repeated:
            values[slot.name] = tuple(values[slot.name])
        elif slot.name not in values and slot.default is dataclasses.MISSING:
            raise AgentProtocolError(f"{cls.__name__}: field {slot.tag.name} is missing")
    return cls(**values)
