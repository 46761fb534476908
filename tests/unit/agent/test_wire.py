"""The Python mirror of the wire contract is held to the C header."""

from __future__ import annotations

import ast
import re
from enum import IntEnum
from pathlib import Path

import pytest

from hypercontainer.agent import fields, wire

HEADER = (Path(__file__).parents[3] / "guest/include/hyper_wire.h").read_text()
CODE = re.sub(r"/\*.*?\*/", "", HEADER, flags=re.DOTALL)


def members(enum: str) -> dict[str, int]:
    body = re.search(rf"enum {enum} {{(.*?)}};", CODE, re.DOTALL)
    assert body is not None
    return {name: int(number) for name, number in re.findall(r"(HYPER_\w+)\s*=\s*(\d+)", body[1])}


@pytest.mark.parametrize(
    ("enum", "prefix", "mirror"),
    [
        ("hyper_frame", "HYPER_", wire.Frame),
        ("hyper_stream", "HYPER_", wire.Stream),
        ("hyper_operation", "HYPER_OP_", wire.Operation),
        ("hyper_event", "HYPER_EVENT_", wire.Event),
        ("hyper_tag", "HYPER_", wire.Tag),
    ],
)
def test_enums_are_the_headers(enum: str, prefix: str, mirror: type[IntEnum]) -> None:
    assert {prefix + member.name: member.value for member in mirror} == members(enum)


def test_defines_are_the_headers() -> None:
    defines = dict(re.findall(r"#define HYPER_(\w+) (.+)", CODE))
    assert ast.literal_eval("b" + defines.pop("SYNC")) == wire.SYNC
    assert defines.pop("PORT_NAME") == f'"{wire.PORT_NAME}"'
    assert int(defines.pop("FLAG_MORE")) == wire.Flag.MORE
    numbers = {name: re.sub(r"HYPER_", "", text.strip()) for name, text in defines.items()}
    for name, text in numbers.items():
        for other, value in numbers.items():
            text = re.sub(rf"\b{other}\b", value, text)
        assert eval(text, {}) == getattr(wire, name), name


def test_structs_have_the_headers_sizes() -> None:
    assert wire.HEADER.size == wire.FRAME_HEADER
    assert wire.TRAILER.size == wire.FRAME_TRAILER
    assert wire.FIELD.size == wire.FIELD_HEADER
    assert len(wire.SYNC) == wire.SYNC_BYTES


def documented_kinds() -> dict[str, str]:
    """What the header's comments say of a tag's value, where they say it in a word."""
    words = {"u32": "u32", "u64": "u64", "flag": "flag", "nested": "nested", "text": "text", "bytes": "bytes"}
    found = re.findall(r"HYPER_(\w+) = \d+,\s*/\*\s*(?:\d+ )?(u32|u64|flag|nested|text|bytes)\b", HEADER)
    return {name: words[word] for name, word in found}


def test_tags_travel_as_the_header_says() -> None:
    kinds = documented_kinds()
    assert len(kinds) > 30
    shown = {"text": ("text", "shown"), "bytes": ("bytes", "shown"), "u32": ("u32", "i32")}
    for name, kind in kinds.items():
        assert fields.kind_of(wire.Tag[name]) in shown.get(kind, (kind,)), name


def test_stream_numbers() -> None:
    assert wire.stream_id(7, wire.Stream.STDERR) == 30
    assert wire.split_stream_id(30) == (7, 2)
    assert wire.stream_id(wire.PROCESS_MAX, wire.Stream.STDERR) < 1 << 32
