"""Detach keys, wherever the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.contract.detach import DetachKeys, parse_keys
from hypercontainer.errors import InvalidArgument


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
