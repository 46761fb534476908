"""Frames from bytes, however they are cut, and nothing else from anything else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.agent.frames import (
    FROM_GUEST,
    FROM_HOST,
    FrameReader,
    MessageReader,
    Received,
    frame,
    greeting,
    message,
)
from hypercontainer.agent.wire import (
    FRAME_MAX,
    HEADER,
    MESSAGE_MAX,
    PADDING,
    SYNC,
    TRAILER,
    Flag,
    Frame,
)
from hypercontainer.errors import AgentProtocolError

S = 0xA1B2C3D4
WELCOME = greeting(S, Frame.WELCOME)


def reader(session: int = S) -> FrameReader:
    return FrameReader(session, Frame.WELCOME, FROM_GUEST)


def frames(data: bytes, source: FrameReader | None = None) -> list[Received]:
    return list((source or reader()).feed(data))


def test_form_on_the_wire() -> None:
    made = frame(S, Frame.DATA, 9, b"abc")
    assert made == b"\3\0\0\0\6\0\0\0\x09\0\0\0\xd4\xc3\xb2\xa1abc\xd4\xc3\xb2\xa1"
    assert WELCOME[: len(SYNC)] == SYNC
    assert greeting(S, Frame.HELLO, padded=True)[: PADDING + 16] == bytes(PADDING) + SYNC


SESSION = WELCOME + frame(S, Frame.DATA, 5, b"x" * 70) + frame(S, Frame.EOF, 5) + frame(S, Frame.PING)


def test_any_cutting_gives_the_same_frames() -> None:
    whole = frames(SESSION)
    assert [f.type for f in whole] == [Frame.WELCOME, Frame.DATA, Frame.EOF, Frame.PING]
    for at in range(len(SESSION) + 1):
        source = reader()
        assert frames(SESSION[:at], source) + frames(SESSION[at:], source) == whole
    source = reader()
    assert [f for byte in SESSION for f in frames(bytes([byte]), source)] == whole


def test_large_frames_through_the_fixed_buffer() -> None:
    generator = random.Random(1)
    payloads = [generator.randbytes(generator.choice([1, 100, 30000, FRAME_MAX])) for _ in range(60)]
    data = WELCOME + b"".join(frame(S, Frame.DATA, 5, payload) for payload in payloads)
    source, got, at = reader(), [], 0
    while at < len(data):
        step = generator.randrange(1, 200000)
        got += frames(data[at : at + step], source)
        at += step
    assert [f.payload for f in got[1:]] == payloads


@pytest.mark.parametrize(
    "stale",
    [
        b"",
        bytes(70000),
        SYNC,
        SYNC * 3,
        SYNC[:15],
        SYNC + b"junk",
        b"".join(SYNC[:n] for n in range(16)),
        greeting(S ^ 1, Frame.WELCOME, b"old"),
        greeting(S ^ 1, Frame.WELCOME, b"old")[:40],
        greeting(S ^ 1, Frame.WELCOME, b"old")[:30],
        frame(S ^ 1, Frame.DATA, 5, b"of an older session"),
        SYNC + frame(S, Frame.DATA, 5, b"no greeting"),
    ],
    ids=range(12),
)
def test_hunting_past_what_was_cut(stale: bytes) -> None:
    data = stale + SESSION
    assert next(f.type for f in frames(data)) is Frame.WELCOME
    source = reader()
    got = [f for byte in data for f in frames(bytes([byte]), source)]
    assert [f.type for f in got] == [Frame.WELCOME, Frame.DATA, Frame.EOF, Frame.PING]


def test_hunting_has_an_end() -> None:
    source = reader()
    junk = bytes(1 << 20)
    with pytest.raises(AgentProtocolError, match="no greeting"):
        for _ in range(9):
            frames(junk, source)


def header(length: int, kind: int, flags: int = 0, stream: int = 0, session: int = S) -> bytes:
    return HEADER.pack(length, kind, flags, stream, session)


@pytest.mark.parametrize(
    "bad",
    [
        header(FRAME_MAX + 1, Frame.DATA),
        header(0xFFFFFFFF, Frame.DATA),
        header(0, Frame.DATA),  # DATA of nothing
        header(1, Frame.EOF),
        header(15, Frame.CREDIT),
        header(65, Frame.PING),
        header(1, 0),
        header(1, 12),
        header(1, Frame.HELLO),
        header(8, Frame.REQUEST),  # the host's to send
        header(1, Frame.DATA, session=S ^ 0x10000),
        header(1, Frame.DATA, session=0),
        header(1, Frame.DATA, flags=Flag.MORE),
        header(1, Frame.EVENT, flags=2),
        header(1, Frame.EVENT, stream=4),
        header(0, Frame.EVENT, flags=Flag.MORE),  # an endless message of nothing
        frame(S, Frame.DATA, 5, b"abc")[:-4] + TRAILER.pack(S ^ 1),
        SYNC,
        b"garbage garbage garbage",
    ],
    ids=range(19),
)
def test_what_is_no_frame_ends_the_session(bad: bytes) -> None:
    with pytest.raises(AgentProtocolError):
        frames(WELCOME + bad + bytes(40))


def test_the_guests_side_takes_the_newest_session() -> None:
    source = FrameReader(0, Frame.HELLO, FROM_HOST)
    assert [f.type for f in frames(greeting(7, Frame.HELLO), source)] == [Frame.HELLO]
    assert source.session == 7
    cut = frame(7, Frame.DATA, 4, b"x" * 1000)[:500]
    fresh = greeting(8, Frame.HELLO, padded=True) + frame(8, Frame.PING)
    with pytest.raises(AgentProtocolError):
        frames(cut + fresh, source)
    source.hunt()
    assert [f.type for f in frames(b"", source)] == [Frame.HELLO, Frame.PING]
    assert source.session == 8


def test_messages_longer_than_a_frame() -> None:
    payload = random.Random(2).randbytes(3 * FRAME_MAX + 17)
    got = frames(WELCOME + message(S, Frame.RESPONSE, payload))[1:]
    assert [f.flags for f in got] == [Flag.MORE] * 3 + [0]
    joined = MessageReader()
    assert [joined.add(f) for f in got] == [None, None, None, payload]
    exact = frames(WELCOME + message(S, Frame.RESPONSE, bytes(2 * FRAME_MAX)))[1:]
    assert [f.flags for f in exact] == [Flag.MORE, 0]


def test_messages_are_bounded_and_not_interleaved() -> None:
    joined, part = MessageReader(), Received(Frame.EVENT, Flag.MORE, 0, bytes(FRAME_MAX))
    for _ in range(MESSAGE_MAX // FRAME_MAX):
        assert joined.add(part) is None
    with pytest.raises(AgentProtocolError, match="more than"):
        joined.add(part)
    joined = MessageReader()
    joined.add(part)
    with pytest.raises(AgentProtocolError, match="within a message"):
        joined.add(Received(Frame.RESPONSE, 0, 0, b"x"))


@given(st.binary(max_size=400))
def test_any_bytes_after_the_greeting(data: bytes) -> None:
    source = reader()
    frames(WELCOME, source)
    try:
        got = frames(data, source)
    except AgentProtocolError:
        return
    rebuilt = b"".join(frame(S, f.type, f.stream, f.payload, f.flags) for f in got)
    assert data.startswith(rebuilt)
