"""The host's end of a line that loses bytes: with a guest played by hand, and with the guest's own C."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hypercontainer.hypervisor.line import OPEN_EVERY_S, POLL_AFTER_S, Line
from hypercontainer.hypervisor.line_frames import PAYLOAD_MAX, WINDOW, Frame, Kind, Reader
from hypercontainer.hypervisor.line_pipe import LinePipe
from lossy import Lossy
from soak import rounds

SOURCES = Path(__file__).parents[3] / "guest/init"


def said(line: Line, now: float) -> list[Frame]:
    reader = Reader()
    frames: list[Frame] = []
    while data := line.output(now):
        frames += reader.feed(data)
    return frames


def opened(now: float = 0.0) -> Line:
    line = Line(now)
    assert [frame.kind for frame in said(line, now)] == [Kind.OPEN]
    line.receive(Frame(Kind.OPENED, line.session, window=WINDOW).encode(), now)
    assert line.opened
    return line


def hear(line: Line, kind: Kind, now: float = 0.0, *, session: int = 0, **fields: object) -> list[Frame]:
    fields = {"window": WINDOW} | fields
    # typing: the fields of a frame
    line.receive(Frame(kind, session or line.session, **fields).encode(), now)  # type: ignore[arg-type]
    return said(line, now)


def test_it_opens_until_the_guest_answers() -> None:
    line = Line(5.0)
    assert [frame.kind for frame in said(line, 5.0)] == [Kind.OPEN]
    line.send(b"early")
    assert said(line, 5.0) == []
    assert line.deadline() == 5.0 + OPEN_EVERY_S
    assert [frame.session for frame in said(line, line.deadline())] == [line.session]
    # It has begun to listen just now: then at once.
    assert [frame.kind for frame in hear(line, Kind.RESET, 5.3, session=0)] == [Kind.OPEN]
    line.receive(Frame(Kind.RESET, 0).encode(), 5.3)
    assert [frame.kind for frame in said(line, 5.3)] == [Kind.OPEN]
    assert [frame.payload for frame in hear(line, Kind.OPENED, 5.4)] == [b"early"]


def test_bytes_come_once_and_in_order() -> None:
    line = opened()
    acks = hear(line, Kind.DATA, payload=b"one")
    assert [(frame.kind, frame.acknowledged) for frame in acks] == [(Kind.ACK, 1)]
    assert hear(line, Kind.DATA, sequence=2, payload=b"three")[0].kind is Kind.AGAIN
    assert hear(line, Kind.DATA, sequence=3, payload=b"four") == []
    assert hear(line, Kind.DATA, sequence=2, payload=b"three")[0].kind is Kind.AGAIN, "lost once more"
    assert hear(line, Kind.DATA, sequence=0, payload=b"one")[0].acknowledged == 1
    hear(line, Kind.DATA, sequence=1, payload=b"two")
    assert line.take() == b"onetwo"
    assert line.take() == b""


def test_what_is_missing_is_sent_again() -> None:
    line = opened()
    line.send(bytes(3 * PAYLOAD_MAX))
    assert [frame.sequence for frame in said(line, 0.0)] == [0, 1, 2]
    assert hear(line, Kind.ACK, acknowledged=1) == []
    assert [frame.sequence for frame in hear(line, Kind.AGAIN, acknowledged=1)] == [1, 2]
    # Nobody says anything: ever later.
    first = line.deadline()
    assert [frame.sequence for frame in said(line, first)] == [1, 2]
    assert line.deadline() - first > first
    hear(line, Kind.ACK, first, acknowledged=3)
    assert line.deadline() == first + POLL_AFTER_S
    assert hear(line, Kind.ACK, first, acknowledged=70) == []


def test_a_guest_without_room_is_asked() -> None:
    line = opened()
    line.send(b"x")
    assert [frame.sequence for frame in said(line, 0.0)] == [0]
    hear(line, Kind.ACK, acknowledged=1, window=0)
    line.send(b"y")
    assert said(line, 0.0) == []
    kinds = [frame.kind for frame in said(line, line.deadline())]
    assert kinds == [Kind.POLL]
    assert [frame.payload for frame in hear(line, Kind.ACK, 9.0, acknowledged=1)] == [b"y"]


def test_room_is_told_and_kept_to() -> None:
    line = opened()
    for number in range(WINDOW + 2):
        line.receive(Frame(Kind.DATA, line.session, number, payload=bytes(PAYLOAD_MAX)).encode(), 0.0)
    assert [frame.window for frame in said(line, 0.0)][-1] == 0
    assert len(line.take()) == WINDOW * PAYLOAD_MAX
    assert [(frame.kind, frame.window) for frame in said(line, 0.0)] == [(Kind.ACK, WINDOW)]


def test_a_session_that_the_guest_does_not_know_is_lost() -> None:
    for session in (0, 1):
        line = opened()
        line.receive(Frame(Kind.RESET, session and line.session).encode(), 0.0)
        assert line.lost
        assert line.output(100.0) == line.close() == b""
    line = opened()
    line.receive(Frame(Kind.RESET, (line.session + 1) or 1).encode(), 0.0)
    hear(line, Kind.DATA, session=(line.session + 1) or 1, payload=b"another's")
    assert not line.lost
    assert line.take() == b""


def test_silence_is_asked_about_and_ends_nothing() -> None:
    line = opened()
    for _ in range(50):
        assert [frame.kind for frame in said(line, line.deadline())] == [Kind.POLL]
    assert not line.lost


def test_what_stands_between_frames_is_the_consoles() -> None:
    noise = bytearray()
    reader = Reader(noise.extend)
    good = Frame(Kind.DATA, 1, payload=b"data").encode()
    hurt = bytearray(Frame(Kind.DATA, 1, payload=b"secret").encode())
    hurt[-5] ^= 1
    text = b"Linux version\r\n\xf1\x0dH" + good + b"panic" + bytes(hurt) + good + b"more"
    frames = [frame for byte in text for frame in reader.feed(bytes([byte]))]
    assert [(frame.payload, frame.damaged) for frame in frames] == [
        (b"data", False),
        (b"", True),
        (b"data", False),
    ]
    assert noise == b"Linux version\r\n\xf1\x0dHpanicmore"


def test_frames_are_found_whatever_is_around_them() -> None:
    chosen = random.Random(3)
    reader = Reader()
    for number in range(rounds(short=300, soak=20_000)):
        frame = Frame(Kind.DATA, 9, number, payload=chosen.randbytes(chosen.randint(1, 100)))
        rubbish = b"".join(chosen.choice([b"\xf1", b"\x0d", b"HL", chosen.randbytes(3)]) for _ in range(20))
        found = reader.feed(rubbish + frame.encode()[: chosen.randint(0, 20)])
        # What a hurt one promised may still be waited for: it comes again.
        while frame not in found:
            found = reader.feed(frame.encode())


# -- with the guest's own


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("line")
    made = directory / "run_line"
    subprocess.run(["nice", "make", "-s", "-C", SOURCES, made, f"TESTS={directory}"], check=True, timeout=240)
    return made


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lossy: Lossy) -> None:
    while data := await reader.read(3000):
        writer.write(lossy.carry(data))
        await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def guest(
    program: Path, *arguments: str, seed: int = 0, harm: float = 0
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.subprocess.Process]]:
    """run_line, and our end of a line to it that hurts what it carries."""
    its, line = socket.socketpair()
    ours, host = socket.socketpair()
    with its:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdin=its.fileno())
    near = await asyncio.open_connection(sock=line)
    far = await asyncio.open_connection(sock=ours)
    there, back = Lossy(seed, harm), Lossy(seed + 1, harm)
    tasks = [
        asyncio.create_task(carry(far[0], near[1], there)),
        asyncio.create_task(carry(near[0], far[1], back)),
    ]
    try:
        yield *await asyncio.open_connection(sock=host), process
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        near[1].close()
        far[1].close()
        if process.returncode is None:
            process.kill()
        await process.wait()


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:

    async def write() -> None:
        for at in range(0, len(data), 5000):
            writer.write(data[at : at + 5000])
            await writer.drain()

    writing = asyncio.create_task(write())
    got = await reader.readexactly(len(data))
    await writing
    return got


@pytest.mark.parametrize("harm", [0, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(rounds(short=2, soak=40)))
def test_every_byte_comes_back_over_a_bad_line(program: Path, seed: int, harm: float) -> None:
    async def main() -> None:
        data = random.Random(seed).randbytes(60_000)
        async with asyncio.timeout(60), guest(program, "echo", seed=seed, harm=harm) as (reader, writer, _):
            pipe, ours, user = await LinePipe.open(reader, writer)
            assert await echoed(ours, user, data) == data
            await pipe.close()

    asyncio.run(main())


def test_the_guest_ends_when_all_has_arrived(program: Path) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(60),
            guest(program, "say", "100000", harm=0.3) as (reader, writer, process),
        ):
            pipe, ours, user = await LinePipe.open(reader, writer)
            user.write(b"!")
            assert await ours.readexactly(100_000) == bytes(at * 7 // 5 % 256 for at in range(100_000))
            assert await process.wait() == 0
            assert await ours.read() == b"", "the line has ended, and so has the pipe"
            await pipe.close()

    asyncio.run(main())


def test_a_host_that_comes_anew_begins_anew(program: Path) -> None:
    """It may have gone in the middle of a frame; no byte of its time comes after it."""

    async def main() -> None:
        async with asyncio.timeout(60), guest(program, "echo") as (reader, writer, _):
            first = Line(0.0)
            writer.write(first.output(0.0))
            while not first.opened:
                first.receive(await reader.read(4096), 0.0)
            first.send(b"first" * 1000)
            writer.write(first.output(0.0)[:3000])  # and is killed
            pipe, ours, user = await LinePipe.open(reader, writer)
            assert await echoed(ours, user, b"second" * 5000) == b"second" * 5000
            await pipe.close()

    asyncio.run(main())


def test_a_user_who_does_not_read_stops_the_guest(program: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), guest(program, "say", "2000000") as (reader, writer, process):
            pipe, ours, user = await LinePipe.open(reader, writer)
            user.write(b"!")
            await asyncio.sleep(0.5)
            assert process.returncode is None
            got = await ours.readexactly(2_000_000)
            assert got[-1] == 1_999_999 * 7 // 5 % 256
            await pipe.close()

    asyncio.run(main())
