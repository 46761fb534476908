"""Frames and detach keys, wherever the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_hyperd import frame as framed
from hypercontainer.client import frames
from hypercontainer.client.detach import DetachKeys, parse_keys
from hypercontainer.client.http import BrokenAnswer
from hypercontainer.errors import InvalidArgument


@given(st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_come_whole_from_any_pieces(sent: list[tuple[int, bytes]], step: int) -> None:
    data = b"".join(framed(channel, payload) for channel, payload in sent)
    assert b"".join(frames.frame(channel, payload) for channel, payload in sent) == data
    reader = frames.FrameReader()
    got = []
    for at in range(0, len(data), step):
        got += [(channel, bytes(payload)) for channel, payload in reader.feed(data[at : at + step])]
    assert got == sent
    assert reader.clean


@pytest.mark.parametrize(
    "data", [b"\5\0\0\0\0\0\0\0", b"\1\0\1\0\0\0\0\0", b"\1\0\0\0\0\1\0\1", b"HTTP/1.1 200 OK\r\n"]
)
def test_what_is_no_frame_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        list(frames.FrameReader().feed(data))


def test_the_longest_frame_is_taken() -> None:
    reader = frames.FrameReader()
    ((channel, payload),) = reader.feed(framed(1, b"x" * 65536))
    assert (channel, len(payload)) == (1, 65536)


def test_a_frame_that_has_begun_is_not_a_clean_end() -> None:
    reader = frames.FrameReader()
    assert list(reader.feed(framed(1, b"abc")[:-1])) == []
    assert not reader.clean


def test_credit_goes_out_and_comes_in_as_specified() -> None:
    assert frames.credit(1, 0x01020304) == b"\4\0\0\0\0\0\0\x08" + b"\1\0\0\0\1\2\3\4"
    assert frames.read_credit(memoryview(b"\0\0\0\0\0\0\1\0")) == (0, 256)
    with pytest.raises(BrokenAnswer):
        frames.read_credit(memoryview(b"\0\0"))


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("", b"\x10\x11"),
        ("a,b,ctrl-C", b"ab\x03"),
        ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\0\x1b\x1c\x1d\x1e\x1f"),
        ("D", b"D"),
    ],
)
def test_detach_keys_as_typed(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-pp", "ab", "a,,b", "ctrl-1", "é"])
def test_detach_keys_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_keys(text)


@given(
    st.lists(st.sampled_from([b"\x10", b"\x11", b"a", b"\x10\x11", b"bc"])),
    st.sampled_from([b"\x10\x11", b"aa\x10"]),
)
def test_detach_keys_are_found_across_reads_and_lose_nothing(pieces: list[bytes], keys: bytes) -> None:
    typed = b"".join(pieces)
    finder = DetachKeys(keys)
    passed, found = b"", False
    for piece in pieces:
        more, found = finder.feed(piece)
        passed += more
        if found:
            break
    if keys in typed:
        assert found
        assert passed == typed[: typed.index(keys)]
    else:
        assert not found
        held = typed[len(passed) :]
        assert passed + held == typed
        assert keys.startswith(held) or not held
