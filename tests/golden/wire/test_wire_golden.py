"""The bytes that host and guest exchange, of every record with every field: two versions of Hyper meet in one VM.

A guest outlives the hyperd that started it, so what stands in messages.txt may be added to, and never changes.
``HYPER_UPDATE_GOLDEN=1 pytest tests/golden/wire`` writes down what was added.  The guest's own checks take the
requests of the same file (guest/init/test/test_wire.c).
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hypercontainer.agent import operations, wire
from hypercontainer.agent.fields import decode, encode
from hypercontainer.agent.frames import frame, greeting, message
from hypercontainer.agent.wire import Frame

MESSAGES = Path(__file__).with_name("messages.txt")
REQUEST_ID = 7
SESSION = 0x11223344


def value(hint: Any, tag: wire.Tag) -> Any:
    """Some value of this type that is not the field's default, another for each tag."""
    if get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        return (value(element, tag), value(element, tag))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return full(hint)
    if hint is bool:
        return True
    if hint is bytes:
        return bytes((tag, 0, 255, 10, tag, 1))
    return f"{tag.name}é"[-12:] if hint is str else int(tag)


def full(record: type[Any]) -> Any:
    """A record in which every field is said."""
    hints = get_type_hints(record, include_extras=True)
    said = {field.name: get_args(hints[field.name])[:2] for field in dataclasses.fields(record)}
    return record(**{name: value(*hint) for name, hint in said.items()})


def records() -> Iterator[type[Any]]:
    for name, found in vars(operations).items():
        if dataclasses.is_dataclass(found) and found.__module__ == operations.__name__ and name != "Stats":
            assert isinstance(found, type)
            yield found


def least(record: type[Any]) -> Any:
    """A record in which nothing is said that need not be."""
    hints = get_type_hints(record, include_extras=True)
    needed = [field for field in dataclasses.fields(record) if field.default is dataclasses.MISSING]
    return record(**{field.name: value(*get_args(hints[field.name])[:2]) for field in needed})


def messages() -> Iterator[tuple[str, bytes]]:
    """What each line of the file is of, and its bytes."""
    for operation, record in operations.REQUESTS.items():
        head = wire.REQUEST.pack(REQUEST_ID, operation, 0)
        yield f"request {operation.name}", head + encode(full(record))
        yield f"request {operation.name} (least)", head + encode(least(record))
    for record in records():
        yield f"record {record.__name__}", encode(full(record))
    yield "frame GREETING", greeting(SESSION, Frame.HELLO, b"fields")
    yield "frame DATA", frame(SESSION, Frame.DATA, wire.stream_id(5, wire.Stream.STDERR), b"bytes")
    yield "frame CREDIT", frame(SESSION, Frame.CREDIT, 21, wire.CREDIT.pack(70212, 1 << 40))
    cut = message(SESSION, Frame.REQUEST, bytes(wire.FRAME_MAX + 1))
    yield "frame MORE", cut[: wire.FRAME_HEADER] + cut[wire.FRAME_HEADER + wire.FRAME_MAX :]


def test_the_bytes_are_what_they_were() -> None:
    text = "".join(f"{what}: {data.hex()}\n" for what, data in messages())
    if os.environ.get("HYPER_UPDATE_GOLDEN"):
        MESSAGES.write_text(text)
    assert text == MESSAGES.read_text()


def test_every_record_comes_back() -> None:
    for record in records():
        for said in (full(record), least(record)):
            assert decode(record, encode(said)) == said
