"""Frames, wherever the bytes are cut; who breaks their rules is told in each side's words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_hyperd import frame as framed
from hypercontainer.client.http import BrokenAnswer, broken_frame
from hypercontainer.contract import frames
from hypercontainer.contract.frames import FrameReader
from hypercontainer.errors import HyperError, InvalidArgument
from hypercontainer.surfaces.hyper.session import broken

SIDES = [(broken, InvalidArgument), (broken_frame, BrokenAnswer)]
sides = pytest.mark.parametrize(("words", "kind"), SIDES, ids=["server", "client"])
Words = Callable[[str], HyperError]


@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_come_whole_from_any_pieces(sent: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(framed(channel, payload) for channel, payload in sent)
    assert b"".join(frames.frame(channel, payload) for channel, payload in sent) == data
    reader = FrameReader(broken)
    got = []
    for at in range(0, len(data), step):
        got += [(channel, bytes(payload)) for channel, payload in reader.feed(data[at : at + step])]
    assert got == sent
    assert reader.clean


@given(st.binary(max_size=400), st.lists(st.integers(1, 50), max_size=20))
def test_any_bytes_are_taken_alike_in_any_pieces(data: bytes, pieces: list[int]) -> None:
    def decode(parts: list[bytes]) -> tuple[list[tuple[int, bytes]], bool]:
        reader = FrameReader(broken)
        found: list[tuple[int, bytes]] = []
        try:
            for part in parts:
                found.extend((channel, bytes(payload)) for channel, payload in reader.feed(part))
        except InvalidArgument:
            return found, True
        return found, False

    parts, rest = [], data
    for size in pieces:
        parts.append(rest[:size])
        rest = rest[size:]
    assert decode([*parts, rest]) == decode([data])


@sides
@pytest.mark.parametrize(
    "data", [b"\5\0\0\0\0\0\0\0", b"\1\0\1\0\0\0\0\0", b"\1\0\0\0\0\1\0\1", b"HTTP/1.1 200 OK\r\n"]
)
def test_what_is_no_frame_is_refused_by_its_header(data: bytes, words: Words, kind: type[HyperError]) -> None:
    with pytest.raises(kind, match=data[:8].hex()):
        list(FrameReader(words).feed(data))


def test_the_longest_frame_is_taken_and_more_is_cut_into_several() -> None:
    ((channel, payload),) = FrameReader(broken).feed(framed(1, b"x" * 65536))
    assert (channel, len(payload)) == (1, 65536)
    assert frames.frames(2, b"y" * 65537) == framed(2, b"y" * 65536) + framed(2, b"y")
    assert frames.frames(2, b"") == b""


def test_a_frame_that_has_begun_is_not_a_clean_end() -> None:
    reader = FrameReader(broken)
    assert list(reader.feed(framed(1, b"abc")[:-1])) == []
    assert not reader.clean


@sides
def test_credit_goes_out_and_comes_in_as_specified(words: Words, kind: type[HyperError]) -> None:
    assert frames.credit(1, 0x01020304) == b"\4\0\0\0\0\0\0\x08" + b"\1\0\0\0\1\2\3\4"
    assert frames.read_credit(memoryview(b"\0\0\0\0\0\0\1\0"), words) == (0, 256)
    for wrong in (b"\0\0", b"\1\0\1\0\0\0\0\1", bytes(9)):
        with pytest.raises(kind, match="credit"):
            frames.read_credit(memoryview(wrong), words)
