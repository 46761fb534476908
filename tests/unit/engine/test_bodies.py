"""Records as they lie in the file of the engine's memory."""

from __future__ import annotations

import json

import pytest

from hypercontainer.engine.bodies import LONG_BYTES, packed, unpacked

SHORT = json.dumps({"id": "a"}).encode()
LONG = json.dumps([{"host_port": number} for number in range(LONG_BYTES // 8)]).encode()


@pytest.mark.parametrize("body", [SHORT, LONG, b"", b"x" * LONG_BYTES, b"x" * (LONG_BYTES + 1)])
def test_it_comes_back_as_it_was(body: bytes) -> None:
    assert unpacked(packed(body)) == body


def test_a_long_one_is_a_fraction_of_itself_and_a_short_one_can_be_read_by_people() -> None:
    assert len(packed(LONG)) < len(LONG) / 4
    assert packed(SHORT) == SHORT


@pytest.mark.parametrize("damage", [lambda body: body[:-20], lambda body: body[:9] + b"??" + body[11:]])
def test_what_is_damaged_stays_as_it_is(damage) -> None:  # type: ignore[no-untyped-def]
    assert unpacked(damage(packed(LONG))) == damage(packed(LONG))
