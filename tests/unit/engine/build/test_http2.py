"""Connections that are passed on stream by stream: nothing is lost or mixed, nothing grows, each end is told of the
other's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from h2_peer import Ends, Peer, framed
from hypercontainer.engine.build.http2 import STREAM_WINDOW_BYTES, Broken
from hypercontainer.engine.build.sessions import ClientSession


class Stage:
    """A caller (as BuildKit is), a callee (as its client is), and what passes between them."""

    def __init__(self, *, callee_takes: bool = True) -> None:
        self.near, self.far = Ends(), Ends()
        self.session = ClientSession(self.near.here, self.far.here)
        self.work = asyncio.create_task(self.session.run())
        self.callee = Peer(self.near.there, client=False, takes=callee_takes)
        self.caller = Peer(self.far.there, client=True)


@contextlib.asynccontextmanager
async def stage(*, callee_takes: bool = True) -> AsyncIterator[Stage]:
    made = Stage(callee_takes=callee_takes)
    await made.callee.flush()
    await made.caller.flush()
    try:
        yield made
    finally:
        await made.caller.close()
        await made.callee.close()
        await asyncio.wait([made.work])


async def test_calls_at_once_keep_their_own() -> None:
    async with stage() as s:
        asked = [await s.caller.ask("/service/one", number=str(n)) for n in range(20)]
        for n, stream in enumerate(asked):
            await s.caller.send(stream, framed(b"%d" % n), end=True)
        await s.callee.until(lambda: len(s.callee.ended) == 20)
        for stream in sorted(s.callee.ended, reverse=True):
            number = dict(s.callee.heads[stream][0])[b"number"]
            assert s.callee.data[stream] == framed(number)
            await s.callee.answer(stream, b"answer " + number)
        await s.caller.until(lambda: len(s.caller.ended) == 20)
        assert [s.caller.data[stream] for stream in asked] == [framed(b"answer %d" % n) for n in range(20)]
        assert dict(s.caller.heads[asked[0]][-1]) == {b"grpc-status": b"0"}


async def test_what_one_does_not_take_the_other_may_not_send() -> None:
    async with stage(callee_takes=False) as s:
        slow = await s.caller.ask("/slow")
        data = bytes(1 << 20)
        sending = asyncio.create_task(s.caller.send(slow, data))
        room = 65535 + STREAM_WINDOW_BYTES  # of who does not read, and of who passes on
        await s.caller.until(lambda: s.caller.h2.local_flow_control_window(slow) == 0)
        await asyncio.sleep(0)
        assert s.far.here.bytes_read <= room + 4096
        # Others are not held up.
        quick = await s.caller.ask("/quick")
        s.caller.h2.end_stream(quick)
        await s.caller.flush()
        await s.callee.until(lambda: 3 in s.callee.ended)
        s.callee.h2.send_headers(3, [(":status", "200"), ("grpc-status", "0")], end_stream=True)
        await s.callee.flush()
        await s.caller.until(lambda: quick in s.caller.ended)
        # And when it takes it, all of it comes.
        s.callee.takes = True
        s.callee.h2.acknowledge_received_data(len(s.callee.data[1]), 1)
        await s.callee.flush()
        await sending
        await s.callee.until(lambda: len(s.callee.data[1]) == len(data))


async def test_a_call_that_is_given_up_is_so_on_the_other_side() -> None:
    async with stage() as s:
        one, other = await s.caller.ask("/one"), await s.caller.ask("/other")
        await s.callee.until(lambda: len(s.callee.heads) == 2)
        s.caller.h2.reset_stream(one, 8)
        await s.caller.flush()
        await s.callee.until(lambda: s.callee.reset == {1: 8})
        s.callee.h2.reset_stream(3, 5)
        await s.callee.flush()
        await s.caller.until(lambda: s.caller.reset == {other: 5})


async def test_a_call_that_is_asked_whole_and_then_given_up() -> None:
    async with stage() as s:
        stream = await s.caller.ask("/one")
        await s.caller.send(stream, framed(b"x"), end=True)
        await s.callee.until(lambda: 1 in s.callee.ended)
        s.caller.h2.reset_stream(stream, 8)
        await s.caller.flush()
        await s.callee.until(lambda: s.callee.reset == {1: 8})


async def test_one_end_is_that_of_both() -> None:
    async with stage() as s:
        await s.caller.ask("/one")
        await s.callee.until(lambda: len(s.callee.heads) == 1)
        s.callee.wire.close()
        await s.work


async def test_what_is_no_http2_ends_it() -> None:
    for side in ("caller", "callee"):
        async with stage() as s:
            await getattr(s, side).wire.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
            with pytest.raises(Broken):
                await s.work


async def test_streams_that_come_and_go_leave_nothing() -> None:
    async with stage() as s:
        for _ in range(300):
            stream = await s.caller.ask("/one")
            await s.caller.send(stream, framed(b"x"))
            s.caller.h2.reset_stream(stream, 8)
            await s.caller.flush()
            await asyncio.sleep(0)
        last = await s.caller.ask("/last")
        await s.caller.send(last, framed(b"x"), end=True)
        await s.callee.until(lambda: bool(s.callee.ended))
        (number,) = s.callee.ended
        await s.callee.answer(number, b"done")
        await s.caller.until(lambda: last in s.caller.ended)
        assert not s.session._builder._sinks and not s.session._client._sinks
        assert not s.session._builder._half and not s.session._client.waiting
