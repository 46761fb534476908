"""Attach, run, exec: frames over an upgraded connection, credit, control, and clients that break the rules."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from hypercontainer import errors as e
from hypercontainer.contract.answers import Created, Exit, Timings
from hypercontainer.contract.images import LayerProgress

if TYPE_CHECKING:
    from fake_attachment import FakeAttachment
    from tests.unit.api.conftest import FrameStream, Harness, Serving

WINDOW = 262144
MIB = 1 << 20


async def begin(harness: Harness) -> tuple[FakeAttachment, FrameStream]:
    attachment = harness.attachment("containers.attach")
    stream = await harness.upgrade("/v1/containers/web/attach")
    assert await stream.receive_control() == {"started": True}
    return attachment, stream


async def test_attach_carries_everything_in_order_and_ends_with_exit(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        assert harness.notes.calls == [("containers.attach", "c1", {"stdin": True, "logs": False})]
        await stream.send(0, b"in")
        await stream.send(0)
        await attachment.input_ended.wait()
        assert attachment.input == b"in"
        attachment.outputs[1].put_nowait(b"o" * 100_000)
        attachment.outputs[2].put_nowait(b"err")
        attachment.finish(7)
        got = await stream.until_end()
        assert b"".join(data for channel, data in got if channel == 1) == b"o" * 100_000
        assert {(1, b""), (2, b""), (2, b"err")} <= set(got)
        assert got[-1] == (3, b'{"exit":7}')
        assert attachment.closed.is_set()
        stream.close()


async def test_attach_options(serving: Serving) -> None:
    async with serving() as harness:
        attachment = harness.attachment("containers.attach")
        stream = await harness.upgrade("/v1/containers/web/attach?stdin=0&logs=1")
        assert harness.notes.calls == [("containers.attach", "c1", {"stdin": False, "logs": True})]
        attachment.finish()
        await stream.until_end()
        stream.close()


async def test_attach_to_nothing_is_an_http_error(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = e.Conflict("web does not run")
        upgrade = {"Connection": "keep-alive, Upgrade", "Upgrade": "Hyper-Stream"}
        status, answer = await harness.call("POST", "/v1/containers/web/attach", headers=upgrade)
        assert (status, answer["error"]["message"]) == (409, "web does not run")


async def test_run_tells_progress_the_container_and_its_start(serving: Serving) -> None:
    async with serving() as harness:
        attachment = harness.attachment("unused")
        go = asyncio.Event()

        async def run(spec: Any, *, credentials: Any, created: Any, progress: Any, asked_by: Any) -> Any:
            assert (spec.image, spec.pull, asked_by) == ("busybox", "always", os.getuid())
            progress(LayerProgress("l", "downloading", 1, 2))
            await go.wait()
            progress(LayerProgress("l", "downloaded", 2, 2))
            created(Created("c9", "web", ("w",)))
            return attachment

        harness.notes.stand_ins["containers.run"] = run
        stream = await harness.upgrade("/v1/run", {"image": "busybox", "pull": "always"})
        assert (await stream.receive_control())["progress"]["current"] == 1
        go.set()
        assert (await stream.receive_control())["progress"]["current"] == 2
        assert await stream.receive_control() == {"created": {"id": "c9", "name": "web", "warnings": ["w"]}}
        assert await stream.receive_control() == {"started": True}
        attachment.finish(137)
        assert (await stream.until_end())[-1] == (3, b'{"exit":137}')
        stream.close()


async def test_a_run_that_fails_says_why_in_the_stream(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.error = e.LaunchError("no VM", exit_code=1, stderr="x" * 200_000, console="panic")
        stream = await harness.upgrade("/v1/run", {"image": "busybox"})
        ((channel, payload),) = await stream.until_end()
        fault = json.loads(payload)["error"]
        assert (channel, fault["code"], fault["details"]["console"]) == (3, "launch", "panic")
        assert fault["details"]["stderr"].endswith("x" * 4096)  # too long for a frame: its end is kept
        stream.close()


async def test_a_client_that_leaves_during_run_cancels_it(serving: Serving) -> None:
    async with serving() as harness:
        harness.notes.hold.add("containers.run")
        stream = await harness.upgrade("/v1/run", {"image": "busybox"})
        await harness.notes.entered.wait()
        stream.close()
        await harness.notes.cancelled.wait()


async def test_frames_sent_ahead_of_the_switch_are_not_lost(serving: Serving) -> None:
    async with serving() as harness:
        attachment = harness.attachment("containers.attach")
        reader, writer = await harness.connect()
        writer.write(
            b"POST /v1/containers/web/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: hyper-stream\r\n\r\n\0\0\0\0\0\0\0\2hi\0\0\0\0\0\0\0\0"
        )
        await attachment.input_ended.wait()
        assert attachment.input == b"hi"
        writer.close()
        await attachment.closed.wait()
        del reader


async def test_a_process_that_was_lost_has_a_reason_and_a_status(serving: Serving) -> None:
    async with serving() as harness:
        attachment = harness.attachment("containers.attach")
        stream = await harness.upgrade("/v1/containers/web/attach")
        attachment.finish(255, "its VM ended (crash)")
        assert (await stream.until_end())[-2:] == [
            (3, b'{"failed":"its VM ended (crash)"}'),
            (3, b'{"exit":255}'),
        ]
        stream.close()


async def test_exec(serving: Serving) -> None:
    async with serving() as harness:
        _, made = await harness.call("POST", "/v1/containers/web/exec", {"command": ["ls"]})
        attachment = harness.attachment("execs.start")
        stream = await harness.upgrade(f"/v1/execs/{made['id']}/start")
        attachment.finish(1)
        assert (await stream.until_end())[-1] == (3, b'{"exit":1}')
        stream.close()
        # Nobody listens: it is let go, and goes on alone.
        attachment = harness.attachment("execs.start")
        assert await harness.call("POST", f"/v1/execs/{made['id']}/start") == (204, b"")
        assert attachment.closed.is_set()


async def test_controls(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        await stream.send(3, b'{"resize": [24, 80]}')
        await stream.send(3, b'{"signal": "TERM"}')
        while len(attachment.controls) < 2:
            attachment.controlled.clear()
            await attachment.controlled.wait()
        assert attachment.controls == [("resize", 24, 80), ("signal", "TERM")]
        await stream.send(3, b'{"detach": true}')
        assert await stream.until_end() == [(3, b'{"detached":true}')]
        assert attachment.closed.is_set()
        assert not attachment.ended.done()
        stream.close()


async def test_a_client_that_closes_detaches(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        stream.close()
        await attachment.closed.wait()
        assert not attachment.ended.done()


async def test_a_process_that_takes_no_more_input(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        attachment.write_error = e.Conflict("it has closed its input")
        await stream.send(0, b"a" * 65536)
        assert await stream.receive() == (0, b"")
        assert await stream.receive() == (4, b"\0\0\0\0\0\1\0\0")  # the client gets its credit all the same
        for _ in range(8):
            await stream.send(0, b"a" * 65536)
            assert await stream.receive() == (4, b"\0\0\0\0\0\1\0\0")
        attachment.finish()
        assert (await stream.until_end())[-1] == (3, b'{"exit":0}')
        stream.close()


async def test_a_pod_that_is_lost(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        attachment.write_error = e.AgentProtocolError("garbage on the channel")
        await stream.send(0, b"a")
        ((channel, payload),) = await stream.until_end()
        assert channel == 3
        assert json.loads(payload)["error"]["code"] == "agent_protocol"
        assert attachment.closed.is_set()
        stream.close()


# Credit


async def test_input_has_credit(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        attachment.may_read.clear()
        for _ in range(WINDOW // 65536):
            await stream.send(0, b"a" * 65536)
        attachment.may_read.set()
        returned = 0
        while returned < WINDOW:
            channel, payload = await stream.receive()
            assert (channel, payload[0]) == (4, 0)
            returned += int.from_bytes(payload[4:], "big")
        assert returned == WINDOW == len(attachment.input)
        stream.close()
        await attachment.closed.wait()


async def test_more_input_than_there_is_credit_for_is_refused(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        attachment.may_read.clear()
        for _ in range(WINDOW // 65536):
            await stream.send(0, b"a" * 65536)
        await stream.send(0, b"a")
        ((_, payload),) = await stream.until_end()
        assert "credit" in json.loads(payload)["error"]["message"]
        assert attachment.closed.is_set()
        stream.close()


async def test_a_channel_that_is_not_read_stalls_alone(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        for _ in range(64):
            attachment.outputs[1].put_nowait(b"o" * 65536)
        stdout = stderr = 0
        # Standard output gets no credit; standard error goes on far beyond a window.
        for _ in range(64):
            attachment.outputs[2].put_nowait(b"e" * 65536)
        while stderr < 64 * 65536:
            channel, payload = await stream.receive()
            if channel == 1:
                stdout += len(payload)
            else:
                assert channel == 2
                stderr += len(payload)
                await stream.send_credit(2, len(payload))
        assert stdout <= WINDOW
        assert attachment.taken[1] <= WINDOW + 65536  # what was taken of the process and cannot be sent yet
        # Once it is read again, everything is there.
        attachment.finish()
        await stream.send_credit(1, stdout)
        while stdout < 64 * 65536:
            channel, payload = await stream.receive()
            if channel == 1:
                stdout += len(payload)
                await stream.send_credit(1, len(payload))
        assert (await stream.until_end())[-1] == (3, b'{"exit":0}')
        stream.close()


async def test_a_client_that_reads_nothing_bounds_what_is_held(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        for _ in range(256):
            attachment.outputs[1].put_nowait(b"o" * 65536)
        await asyncio.sleep(0.2)
        assert attachment.taken[1] <= WINDOW + 65536
        stream.close()
        await attachment.closed.wait()


async def test_a_client_that_breaks_off_while_it_is_sent_to_is_no_defect(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        for _ in range(64):
            attachment.outputs[1].put_nowait(b"o" * 65536)
            attachment.outputs[2].put_nowait(b"e" * 65536)
        await stream.send_credit(1, len((await stream.receive())[1]))
        stream.writer.transport.abort()
        await attachment.closed.wait()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_client_that_pauses_at_the_end_still_gets_the_exit_status(
    serving: Serving, frame_stream: type[FrameStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypercontainer.surfaces.http.connection.LINGER_S", 0.05)
    async with serving() as harness:
        attachment = harness.attachment("containers.attach")
        small = socket.socket(socket.AF_UNIX)
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, harness.path)
        request = (
            b"POST /v1/containers/web/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: hyper-stream\r\n\r\n"
        )
        await asyncio.get_running_loop().sock_sendall(small, request)
        for _ in range(22):  # more than the socket takes, less than the server waits for
            attachment.outputs[1].put_nowait(b"o" * 10_000)
        attachment.finish(9)
        await asyncio.sleep(0.3)
        reader, writer = await asyncio.open_unix_connection(sock=small)
        await reader.readuntil(b"\r\n\r\n")
        assert (await frame_stream(reader, writer, b"").until_end())[-1] == (3, b'{"exit":9}')
        writer.close()


async def test_much_data_both_ways(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        total = 16 * MIB

        async def echo() -> None:
            sent = 0
            while sent < total:
                await asyncio.sleep(0)
                data = bytes(attachment.input)
                attachment.input.clear()
                sent += len(data)
                if data:
                    attachment.outputs[1].put_nowait(data)
            attachment.finish()

        credit = asyncio.Semaphore(WINDOW // 65536)

        async def send() -> None:
            for _ in range(total // 65536):
                await credit.acquire()
                await stream.send(0, b"\xa5" * 65536)
            await stream.send(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(echo())
            group.create_task(send())
            back = 0
            while True:
                channel, payload = await stream.receive()
                if channel == 1:
                    back += len(payload)
                    assert payload.count(0xA5) == len(payload)
                    if payload:
                        await stream.send_credit(1, len(payload))
                elif channel == 4:
                    for _ in range(int.from_bytes(payload[4:], "big") // 65536):
                        credit.release()
                elif channel == 3:
                    assert payload == b'{"exit":0}'
                    break
        assert back == total
        stream.close()


# Garbage

GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\5\0\0\0\0\0\0\0",
    b"\0\1\0\0\0\0\0\1a",
    b"\0\0\0\0\0\1\0\1" + b"a" * 65537,
    b"\0\0\0\0\xff\xff\xff\xff",
    b"\1\0\0\0\0\0\0\1a",
    b"\2\0\0\0\0\0\0\0",
    b"\3\0\0\0\0\0\0\0",
    b"\3\0\0\0\0\0\0\2{}",
    b"\3\0\0\0\0\0\0\2[]",
    b'\3\0\0\0\0\0\0\x0c{"resize":1}',
    b'\3\0\0\0\0\0\0\x11{"resize":[-1,1]}',
    b'\3\0\0\0\0\0\0\x0b{"other":1}',
    b"\3\0\0\0\0\0\xf0\0" + b"[" * 0xF000,
    b"\4\0\0\0\0\0\0\7aaaaaaa",
    b"\4\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\1",
    b"\4\0\0\0\0\0\0\x08\1\0\0\0\0\0\0\0",
    b"\4\0\0\0\0\0\0\x08\1\0\0\0\0\0\0\1",
    b"\4\0\0\0\0\0\0\x08\1\0\1\0\0\0\0\1",
    b"\4\0\0\0\0\0\0\x08\1\0\0\0\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0" * 2,  # two ends of input
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda value: None)
async def test_garbage_is_refused_and_cut_off(garbage: bytes, serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        await stream.send_raw(garbage)
        ((channel, payload),) = await stream.until_end()
        assert channel == 3
        assert json.loads(payload)["error"]["code"] == "invalid_argument"
        assert attachment.closed.is_set()
        assert (await harness.call("GET", "/v1/ping"))[0] == 200
        stream.close()


async def test_random_frames_cost_their_own_connection_only(serving: Serving) -> None:
    import random

    source = random.Random(7)
    async with serving() as harness:
        for _ in range(60):
            attachment, stream = await begin(harness)
            attachment.may_read.clear()
            for _ in range(source.randrange(1, 8)):
                channel, length = source.choice([0, 0, 3, 3, 4, 4, 1, 9]), source.choice([0, 1, 8, 300])
                payload = source.choice([source.randbytes(length), b'{"signal":"INT"}', b"\1\0\0\0\0\0\0\1"])
                try:
                    await stream.send(channel, payload)
                except (ConnectionError, BrokenPipeError):
                    break
            stream.close()
            await attachment.closed.wait()
        assert (await harness.call("GET", "/v1/ping"))[0] == 200


async def test_where_the_time_went_is_said_before_the_exit(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        attachment.ended.set_result(Exit(5, "lost", Timings("cold", {"vm": 1.5, "guest": 0.25})))
        for queue in attachment.outputs.values():
            queue.put_nowait(b"")
        assert (await stream.until_end())[2:] == [
            (3, b'{"failed":"lost"}'),
            (3, b'{"timings":{"vm":"cold","stages_ms":{"vm":1.5,"guest":0.25}}}'),
            (3, b'{"exit":5}'),
        ]


async def test_exit_status_comes_after_the_end_of_the_outputs(serving: Serving) -> None:
    async with serving() as harness:
        attachment, stream = await begin(harness)
        attachment.ended.set_result(Exit(5))
        attachment.outputs[2].put_nowait(b"")
        assert await stream.receive() == (2, b"")
        attachment.outputs[1].put_nowait(b"late")
        attachment.outputs[1].put_nowait(b"")
        assert [await stream.receive() for _ in range(3)] == [(1, b"late"), (1, b""), (3, b'{"exit":5}')]
        stream.close()
