from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.hypervisor.console import CAPACITY_BYTES, ConsoleRing
from hypercontainer.hypervisor.text import printable


@given(st.lists(st.integers(0, 3 * CAPACITY_BYTES), max_size=6), st.integers(0, 2 * CAPACITY_BYTES))
def test_a_ring_holds_the_end_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], most: int
) -> None:
    path = tmp_path_factory.mktemp("ring") / "ring"
    ring = ConsoleRing.create(path)
    whole = bytearray()
    for number, size in enumerate(sizes):
        data = bytes((number + index) % 251 for index in range(size))
        ring.write(data)
        whole += data
    expected = bytes(whole[-CAPACITY_BYTES:])
    assert ring.tail() == expected
    assert ring.tail(most) == (expected[-most:] if most else b"")
    ring.close()
    again = ConsoleRing.open(path)
    assert again.tail() == expected
    again.write(b"more")
    assert again.tail() == (expected + b"more")[-CAPACITY_BYTES:]
    again.close()
    assert path.stat().st_size == CAPACITY_BYTES + 8
    path.unlink()


def test_a_ring_that_cannot_be_written_loses_output_only(tmp_path: Path) -> None:
    ring = ConsoleRing.create(tmp_path / "ring")
    ring.write(b"first")
    again = ConsoleRing.open(tmp_path / "ring")
    ring.close()
    ring.write(b"lost")
    assert again.tail() == b"first"
    again.close()


def test_a_ring_is_not_put_in_somebody_elses_file(tmp_path: Path) -> None:
    (tmp_path / "ring").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        ConsoleRing.create(tmp_path / "ring")
    assert (tmp_path / "ring").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain\r\n\ttext\n", "plain\n\ttext\n"),
        (b"\x1b[31mred\x1b[0m \x1b(Bend\x1bc", "red end"),
        (b"\x1b]0;title\x07", "0;title"),
        (b"cut\x1b", "cut"),
        (b"\x00\xff\x7f", "\ufffd"),
        ("grün\u009b2J".encode(), "grün2J"),
    ],
)
def test_nothing_that_a_terminal_acts_on_comes_through(raw: bytes, text: str) -> None:
    assert printable(raw) == text
