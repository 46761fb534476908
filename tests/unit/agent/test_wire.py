"""What the wire contract's table promises of itself, and that the guest's side is the one that is made of it."""

from __future__ import annotations

import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest

from hypercontainer.agent import operations, wire
from hypercontainer.agent.fields import slots_of
from hypercontainer.agent.wire import Kind, Operation, Tag

ROOT = Path(__file__).parents[3]


def test_the_guests_side_is_up_to_date() -> None:
    script = ROOT / "tools/make_wire.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("enum", [wire.Frame, wire.Stream, Operation, wire.Event, Tag])
def test_no_number_is_left_out_of_the_header(enum: type[IntEnum]) -> None:
    header = (ROOT / "guest/include/hyper_wire.h").read_text()
    assert all(f"{member.name} = {int(member)}," in header for member in enum)


def test_structs_have_the_sizes_that_are_said() -> None:
    assert wire.HEADER.size == wire.FRAME_HEADER
    assert wire.TRAILER.size == wire.FRAME_TRAILER
    assert wire.FIELD.size == wire.FIELD_HEADER
    assert len(wire.SYNC) == wire.SYNC_BYTES


def test_every_operation_has_its_record() -> None:
    assert set(operations.REQUESTS) == set(Operation)
    for record in operations.REQUESTS.values():
        assert all(slot.tag.kind is not Kind.SHOWN for slot in slots_of(record)), record


def test_no_tag_is_there_twice() -> None:
    assert len(Tag.__members__) == len(set(Tag))  # a second name for a number would be an alias
    for record in operations.REQUESTS.values():
        tags = [slot.tag for slot in slots_of(record)]
        assert len(tags) == len(set(tags)), record


def test_stream_numbers() -> None:
    assert wire.stream_id(7, wire.Stream.STDERR) == 30
    assert wire.split_stream_id(30) == (7, 2)
    assert wire.stream_id(wire.PROCESS_MAX, wire.Stream.STDERR) < 1 << 32
