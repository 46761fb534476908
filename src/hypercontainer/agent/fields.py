"""Fields on the wire <-> frozen dataclasses, from the dataclasses' annotations.

A record's attribute says which tag carries it, and the tag says how (``kind_of``)::

    @dataclass(frozen=True, slots=True)
    class Rlimit:
        resource: Annotated[int, Tag.RESOURCE]

``tuple[X, ...]`` is a repeated tag.  A value equal to the attribute's default is left out (unless ``ALWAYS``
stands behind the tag), and a missing field becomes the default.  Decoding refuses what the record does not
name: unknown tags, a scalar given twice, wrong lengths, lists beyond LIST_MAX.  Hostile input costs time and
memory linear in its length.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from hypercontainer.agent.wire import FIELD, FIELD_HEADER, MESSAGE_MAX, Tag
from hypercontainer.errors import AgentProtocolError, InvalidArgument

T = TypeVar("T")

LIST_MAX = 16384
ALWAYS = "always"

_U32 = frozenset(
    {
        *(Tag.STREAM, Tag.PROCESS, Tag.PID, Tag.WAIT_STATUS, Tag.MTU, Tag.MODE, Tag.UID, Tag.GID, Tag.MAJOR),
        *(Tag.MINOR, Tag.PID_MODE, Tag.CPU_WEIGHT, Tag.RESOURCE, Tag.ROWS, Tag.COLUMNS, Tag.UMASK),
        *(Tag.SIGNAL, Tag.FROZEN, Tag.PARENT, Tag.CONTAINER_PID),
    }
)
_U64 = frozenset(
    {
        *(Tag.UPTIME_NS, Tag.ACKED, Tag.END, Tag.TIME_NS, Tag.FLAGS, Tag.MEMORY_MAX, Tag.PIDS_MAX, Tag.SOFT),
        *(Tag.HARD, Tag.CAP_BOUNDING, Tag.CAP_EFFECTIVE, Tag.CAP_PERMITTED, Tag.CAP_INHERITABLE),
        *(Tag.CAP_AMBIENT, Tag.START_NS, Tag.CPU_NS, Tag.RSS_BYTES, Tag.NUMBER, Tag.OFFSET, Tag.LENGTH),
    }
)
_I32 = frozenset({Tag.OOM_SCORE_ADJ})
_FLAG = frozenset(
    {
        *(Tag.AT_EOF, Tag.EXITED, Tag.INIT, Tag.OOM, Tag.READ_ONLY, Tag.BIND, Tag.PRIVILEGED, Tag.SCRATCH),
        *(Tag.NO_NEW_PRIVS, Tag.TTY, Tag.WITH_STDIN, Tag.ALL, Tag.REAPER, Tag.RELEASE_DISKS),
        *(Tag.DISCARD, Tag.COPY_UP),
    }
)
_BYTES = frozenset({Tag.ENTROPY, Tag.MAC, Tag.NEW_MAC, Tag.CONTENT, Tag.SECCOMP})
_NESTED = frozenset(
    {
        *(Tag.PROCESS_STATE, Tag.STREAM_STATE, Tag.INTERFACE, Tag.SYSCTL, Tag.LOWER, Tag.UPPER, Tag.MOUNT),
        *(Tag.FILE, Tag.DEVICE, Tag.RLIMIT, Tag.TASK, Tag.STAT),
    }
)
# Text that a guest writes for people: whatever it is, it can be shown on a terminal.
_SHOWN = frozenset({Tag.MESSAGE, Tag.AGENT, Tag.KERNEL, Tag.STATE, Tag.COMMAND, Tag.TERMINAL})


def kind_of(tag: Tag) -> str:
    """How a tag's value is written: u32 u64 i32 flag bytes nested shown, else text."""
    table = {"u32": _U32, "u64": _U64, "i32": _I32, "flag": _FLAG, "bytes": _BYTES, "nested": _NESTED}
    table["shown"] = _SHOWN
    return next((kind for kind, tags in table.items() if tag in tags), "text")


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
    """A guest's text with everything replaced that could do more on a terminal than be read."""
    text = value.decode("utf-8", "replace")
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Slot:
    """One attribute of a record: its tag and how it travels."""

    name: str
    tag: Tag
    repeated: bool
    always: bool
    default: Any  # MISSING where the field must be there
    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


def _codec(tag: Tag, element: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    kind = kind_of(tag)
    if kind == "nested":
        return encode, functools.partial(decode, element)
    if kind == "flag":
        _, number = _integer(4, False, tag)
        return (lambda value: b"\1\0\0\0" if value else b"\0\0\0\0"), (lambda value: bool(number(value)))
    if kind == "bytes":
        return bytes, bytes
    if kind in ("text", "shown"):
        return _text(kind == "shown", tag)
    return _integer(8 if kind == "u64" else 4, kind == "i32", tag)


_known: dict[type[Any], tuple[_Slot, ...]] = {}


def _slots(cls: type[Any]) -> tuple[_Slot, ...]:
    if (slots := _known.get(cls)) is None:
        slots = _known[cls] = tuple(_read_slots(cls))
    return slots


def _read_slots(cls: type[Any]) -> Iterator[_Slot]:
    hints = get_type_hints(cls, include_extras=True)
    for attribute in dataclasses.fields(cls):
        annotation = hints[attribute.name]
        if get_origin(annotation) is not Annotated:
            raise TypeError(f"{cls.__name__}.{attribute.name} names no tag")
        inner, tag, *how = get_args(annotation)
        repeated = get_origin(inner) is tuple
        element = get_args(inner)[0] if repeated else _without_none(inner)
        codec = _codec(tag, element)
        yield _Slot(attribute.name, tag, repeated, ALWAYS in how, attribute.default, *codec)


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def encode(record: Any) -> bytes:
    """The fields of a record.  InvalidArgument where a value does not fit its field."""
    parts: list[bytes] = []
    for slot in _slots(type(record)):
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
    slots = {int(slot.tag): slot for slot in _slots(cls)}
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
