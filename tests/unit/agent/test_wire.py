"""The Python mirror of the wire contract is held to the C header."""

from __future__ import annotations

import ast
import dataclasses
import re
from enum import IntEnum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from hypercontainer.agent import fields, operations, wire

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


SCHEMA = re.sub(
    r"/\*.*?\*/", "", (Path(__file__).parents[3] / "guest/init/schema.c").read_text(), flags=re.DOTALL
)
RULE = re.compile(r"{HYPER_(\w+), (\w+), ([A-Z| 0]+), \d*\w*, (\w+)}")


def guest_rules(table: str) -> dict[str, tuple[str, bool, bool]]:
    """tag -> (kind, required, repeated), as hyperstart checks a request."""
    limits = re.search(r"#define LIMITS(.*?)\n\n", SCHEMA, re.DOTALL)
    body = re.search(rf"struct rule {table}\[\] = {{(.*?)}};", SCHEMA, re.DOTALL)
    assert limits is not None
    assert body is not None, table
    found = RULE.findall(body[1].replace("LIMITS", limits[1]))
    return {tag: (kind.lower(), "REQUIRED" in flags, "MANY" in flags) for tag, kind, flags, _ in found}


@pytest.mark.parametrize(
    ("table", "record"),
    [
        ("configure_rules", operations.VmConfig),
        ("interface_rules", operations.Interface),
        ("sysctl_rules", operations.Sysctl),
        ("create_rules", operations.ContainerPlan),
        ("disk_rules", operations.Disk),
        ("mount_rules", operations.Mount),
        ("file_rules", operations.File),
        ("file_system_rules", operations.FileSystem),
        ("volume_rules", operations.VolumePlan),
        ("volume_name_rules", operations.VolumeName),
        ("destroy_rules", operations.ContainerDestroy),
        ("device_rules", operations.Device),
        ("start_rules", operations.ProcessPlan),
        ("rlimit_rules", operations.Rlimit),
        ("signal_rules", operations.ProcessSignal),
        ("resize_rules", operations.ProcessResize),
        ("process_rules", operations.ProcessName),
        ("container_rules", operations.ContainerName),
        ("freeze_rules", operations.ContainerFreeze),
        ("stats_rules", operations.StatsOf),
        ("update_rules", operations.ContainerUpdate),
        ("time_rules", operations.Time),
        ("shutdown_rules", operations.Nothing),
    ],
)
def test_the_guest_checks_for_what_the_host_sends(table: str, record: type[Any]) -> None:
    rules = guest_rules(table)
    hints = get_type_hints(record, include_extras=True)
    sent = {}
    for attribute in dataclasses.fields(record):
        inner, tag, *how = get_args(hints[attribute.name])
        always = attribute.default is dataclasses.MISSING or fields.ALWAYS in how
        sent[tag.name] = (always, get_origin(inner) is tuple)
        kind = {"i32": "u32"}.get(fields.kind_of(tag), fields.kind_of(tag))
        guests = {"u32": "flag"} if tag is wire.Tag.FROZEN else {}
        assert rules[tag.name][0] == guests.get(kind, kind), tag
    assert set(sent) == set(rules)
    for name, (_, required, repeated) in rules.items():
        assert sent[name][1] == repeated, name
        assert sent[name][0] or not required, f"{name} must always be sent"
