"""A container's log: what was written is read, after crashes, rotations and full disks too."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.contract.spec import LogConfig
from hypercontainer.engine.log.container_log import ContainerLog
from hypercontainer.engine.log.records import OVERHEAD_BYTES, PAYLOAD_MAX, Kind, Record, forward, pack

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND


def opened(path: Path, **config: Any) -> ContainerLog:
    ticks = itertools.count()
    return ContainerLog.open(path / "log", LogConfig(**config), clock=lambda: T0 + next(ticks) * SECOND)


def written(path: Path, *parts: tuple[int, bytes], **config: Any) -> ContainerLog:
    """A log with one run of ``parts``; the first is written at T0 + 1 s, and a second passes between any two."""
    log = opened(path, **config)
    log.begin_run(1)
    for stream, data in parts:
        log.append(stream, data)
    return log


async def collect(log: ContainerLog, **options: Any) -> list[tuple[int, bytes]]:
    return [item async for item in log.read(**options)]


def read(log: ContainerLog, **options: Any) -> list[tuple[int, bytes]]:
    return asyncio.run(collect(log, **options))


def text(log: ContainerLog, **options: Any) -> bytes:
    return b"".join(data for _, data in read(log, **options))


MIXED = (
    (1, b"one\ntwo\nthr"),
    (2, b"err one\n"),
    (1, b"ee\n"),
    (2, b"err "),
    (1, b"four\n"),
    (2, b"two\n"),
    (1, b"five, without end"),
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = written(tmp_path, *MIXED)
    assert read(log) == list(MIXED)
    assert log.offsets(1) == {1: 36, 2: 16}
    assert log.offsets(2) == {1: 0, 2: 0}
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def test_binary_and_large(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(300_000)
    log = written(tmp_path, (1, data), (2, b""), (2, b"\0\n\n\xff"))
    assert text(log) == data + b"\0\n\n\xff"
    assert max(len(part) for _, part in read(log)) <= PAYLOAD_MAX


def test_nothing_there(tmp_path: Path) -> None:
    log = opened(tmp_path)
    assert read(log) == read(log, tail=5) == read(log, follow=True) == []
    assert not (tmp_path / "log").exists()  # nothing is written for reading


def tails(parts: tuple[tuple[int, bytes], ...], wanted: int) -> dict[int, bytes]:
    """By stream, the last ``wanted`` lines of a log, by the definition: lines in the order of their ends."""
    ends: list[tuple[int, int, int]] = []  # place in the log, stream, offset of the line's end
    position = dict.fromkeys((1, 2), 0)
    place = 0
    for stream, data in parts:
        for byte in data:
            place += 1
            position[stream] += 1
            if byte == 10:
                ends.append((place, stream, position[stream]))
    whole = {stream: b"".join(d for s, d in parts if s == stream) for stream in (1, 2)}
    for stream, content in whole.items():
        if content and not content.endswith(b"\n"):
            last = max(i for i, (s, _) in enumerate(parts) if s == stream)
            at = sum(len(d) for _, d in parts[: last + 1])
            ends.append((at, stream, len(content)))
    ends.sort()
    begin = {}
    for stream, content in whole.items():
        before = [end for _, s, end in ends[: max(0, len(ends) - wanted)] if s == stream]
        begin[stream] = content[before[-1] :] if before else content
    return begin


@pytest.mark.parametrize("wanted", range(10))
def test_tail(tmp_path: Path, wanted: int) -> None:
    log = written(tmp_path, *MIXED)
    got = read(log, tail=wanted)
    expected = tails(MIXED, wanted)
    assert {s: b"".join(d for stream, d in got if stream == s) for s in (1, 2)} == expected


@pytest.mark.parametrize("seed", range(30))
def test_tail_of_anything(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    alphabet = b"ab\n" if seed % 2 else b"abcdefgh\n"
    parts = tuple(
        (generator.choice((1, 1, 2)), bytes(generator.choices(alphabet, k=generator.randrange(1, 12))))
        for _ in range(generator.randrange(1, 30))
    )
    log = written(tmp_path, *parts, max_size_bytes=generator.choice([300, 10_000]), max_files=1000)
    for wanted in (0, 1, 2, 3, 5, 8, 100):
        got = read(log, tail=wanted)
        assert {s: b"".join(d for stream, d in got if stream == s) for s in (1, 2)} == tails(parts, wanted), (
            wanted
        )


def test_tail_of_earlier_runs(tmp_path: Path) -> None:
    log = written(tmp_path, (1, b"a\nb"))
    log.end_run()
    log.begin_run(2)
    log.append(1, b"c\nd\n")
    assert text(log, tail=3) == b"bc\nd\n"  # "b" was its run's last line
    assert log.offsets(2) == {1: 4, 2: 0}


def test_timestamps(tmp_path: Path) -> None:
    log = written(tmp_path, (1, b"one\ntw"), (2, b"err"), (1, b"o\nthree"))
    assert read(log, timestamps=True) == [
        (1, b"2023-11-14T22:13:21.000000000Z one\n2023-11-14T22:13:21.000000000Z tw"),
        (2, b"2023-11-14T22:13:22.000000000Z err"),
        (1, b"o\n2023-11-14T22:13:23.000000000Z three"),
    ]
    assert text(log, timestamps=True, tail=2).count(b"Z ") == 2


def test_since_and_until(tmp_path: Path) -> None:
    log = written(tmp_path, *((1, b"%d\n" % n) for n in range(1, 50)), max_size_bytes=500, max_files=100)
    assert text(log, since_ns=T0 + 48 * SECOND) == b"48\n49\n"
    assert text(log, since_ns=T0 + 47 * SECOND + 1) == b"48\n49\n"
    assert text(log, until_ns=T0 + 2 * SECOND) == b"1\n2\n"
    assert text(log, since_ns=T0 + 20 * SECOND, until_ns=T0 + 22 * SECOND) == b"20\n21\n22\n"
    assert text(log, tail=2, until_ns=T0 + 30 * SECOND) == b"29\n30\n"
    assert text(log, tail=9, since_ns=T0 + 48 * SECOND) == b"48\n49\n"
    assert text(log, since_ns=T0 + 999 * SECOND) == b""


def test_rotation(tmp_path: Path) -> None:
    log = written(tmp_path, *((1, b"%06d\n" % n) for n in range(1000)), max_size_bytes=2000, max_files=3)
    files = sorted((tmp_path / "log").iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 2000 for file in files)
    kept = text(log).split()
    assert kept == [b"%06d" % n for n in range(1000 - len(kept), 1000)]
    assert len(kept) > 70
    assert log.offsets(1) == {1: 7000, 2: 0}
    assert opened(tmp_path).offsets(1) == {1: 7000, 2: 0}


def test_a_stream_whose_last_record_was_rotated_away_keeps_its_offset(tmp_path: Path) -> None:
    written(tmp_path, (2, b"early"), *((1, b"x" * 500) for _ in range(20)), max_size_bytes=2000, max_files=2)
    assert opened(tmp_path).offsets(1) == {1: 10_000, 2: 5}


def newest(path: Path) -> Path:
    return max((path / "log").iterdir())


def test_a_crash_at_every_byte_of_the_last_record(tmp_path: Path) -> None:
    log = written(tmp_path, (1, b"whole\n"), (2, b"torn\n"))
    log.close()
    file = newest(tmp_path)
    whole = file.read_bytes()
    last = OVERHEAD_BYTES + 5
    for cut in range(1, last + 1):
        file.write_bytes(whole[:-cut])
        again = opened(tmp_path)
        assert again.offsets(1) == {1: 6, 2: 0}
        assert (again.run, again.running) == (1, True)
        again.append(2, b"torn\n")  # the guest sends it again
        assert text(again) == b"whole\ntorn\n"
        again.close()
        file.write_bytes(whole)


def test_a_file_that_was_just_begun_when_hyperd_died(tmp_path: Path) -> None:
    log = written(tmp_path, (1, b"x"))
    log.close()
    log.path(2).touch()
    again = opened(tmp_path)
    assert again.offsets(1) == {1: 1, 2: 0}
    again.append(1, b"y")
    assert text(again) == b"xy"


@pytest.mark.parametrize("at", [0, 60, 120, -1])
def test_damage_is_passed_over_and_said(tmp_path: Path, at: int) -> None:
    log = written(tmp_path, *((1, b"line %d\n" % n) for n in range(20)))
    log.close()
    file = newest(tmp_path)
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)
    again = opened(tmp_path)
    lines = text(again).splitlines()
    kept = [line for line in lines if line.startswith(b"line")]
    assert 19 <= len(kept) <= 20
    if at == -1:
        assert len(kept) == 19  # cut off at the end
    else:
        assert any(re.match(rb"\[hyper: \d+ bytes of this log are damaged\]", line) for line in lines)
        assert text(again, tail=3) == b"line 17\nline 18\nline 19\n"
        assert len(text(again, tail=100).splitlines()) >= 19


def test_garbage_of_every_kind_is_survived(tmp_path: Path) -> None:
    generator = random.Random(5)
    record = Record(Kind.DATA, 1, 1, T0, 3, 0, b"abc")
    good = b"".join(pack(record))
    for number, garbage in enumerate(
        [generator.randbytes(100_000), bytes(5000), good[:20] * 3000, good * 3 + b"\xe9hL\x01" * 5000, b"\n"]
    ):
        directory = tmp_path / str(number) / "log"
        directory.mkdir(parents=True)
        (directory / "00000001.log").write_bytes(garbage)
        (directory / "notes.txt").write_bytes(b"not a log")
        log = opened(directory.parent)
        log.begin_run(2)
        log.append(1, b"fresh\n")
        assert text(log).endswith(b"fresh\n")
        assert text(log, tail=1) == b"fresh\n"


def test_no_more_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full for a while; a write may be cut in the middle."""
    log = written(tmp_path, (1, b"before\n"))
    true_writev = os.writev

    def full(fd: int, parts: list[bytes]) -> int:
        os.write(fd, parts[0][:10])
        return 10

    monkeypatch.setattr(os, "writev", full)
    log.append(1, b"lost 1\n")
    log.append(2, b"lost 2\n")

    def fuller(fd: int, parts: list[bytes]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", fuller)
    log.append(1, b"lost 3\n")
    assert log.offsets(1) == {1: 21, 2: 7}  # they count as taken: the container must go on
    monkeypatch.setattr(os, "writev", true_writev)
    log.append(1, b"after\n")
    assert read(log) == [
        (1, b"before\n"),
        (2, b"[hyper: 14 bytes of output were dropped: the disk was full]\n"),
        (2, b"[hyper: 7 bytes of output were dropped: the disk was full]\n"),
        (1, b"after\n"),
    ]
    log.close()
    assert opened(tmp_path).offsets(1) == {1: 27, 2: 7}


def bounded(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(run())


def test_follow_ends_with_the_run(tmp_path: Path) -> None:
    async def test() -> None:
        log = written(tmp_path, (1, b"old\n"), max_size_bytes=300, max_files=100)
        got: list[bytes] = []

        async def follow(**options: Any) -> None:
            async for _, data in log.read(follow=True, **options):
                got.append(data)

        readers = [asyncio.create_task(follow(tail=0)), asyncio.create_task(follow())]
        await asyncio.sleep(0)
        for number in range(20):  # over several files
            log.append(1, b"%d\n" % number)
            await asyncio.sleep(0)
        assert not any(reader.done() for reader in readers)
        log.end_run()
        log.begin_run(2)
        log.append(1, b"of the next run\n")
        await asyncio.gather(*readers)
        lines = b"".join(got).split()
        assert sorted(lines) == sorted([b"old", *(b"%d" % n for n in range(20) for _ in (0, 1))])
        log.close()

    bounded(test)


def test_follow_ends_when_hyperd_lets_go_and_at_until(tmp_path: Path) -> None:
    async def test() -> None:
        log = ContainerLog.open(tmp_path / "log", LogConfig())
        log.begin_run(1)
        until = asyncio.create_task(collect(log, follow=True, until_ns=1))
        assert await until == []
        reader = asyncio.create_task(collect(log, follow=True))
        await asyncio.sleep(0)
        log.close()
        assert await reader == []
        assert opened(tmp_path).running  # the container lives on

    bounded(test)


def test_a_follower_that_lags_behind_the_rotation(tmp_path: Path) -> None:
    async def test() -> None:
        log = written(tmp_path, (1, b"first\n"), max_size_bytes=300, max_files=2)
        async with contextlib.aclosing(log.read(follow=True)) as reader:  # type: ignore[type-var]
            assert await anext(reader) == (1, b"first\n")
            for number in range(100):
                log.append(1, b"%d\n" % number)
            log.end_run()
            rest = [data async for _, data in reader]
        assert rest[-1] == b"99\n"
        numbers = [int(data) for data in rest]
        assert numbers == sorted(set(numbers))

    bounded(test)


def test_readers_leave_nothing_behind(tmp_path: Path) -> None:
    async def test() -> None:
        log = written(tmp_path, (1, b"x\n"))
        log.close()
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await collect(log, tail=1)
        async with contextlib.aclosing(log.read()) as reader:  # type: ignore[type-var]
            await anext(reader)
        assert set(os.listdir("/proc/self/fd")) == before
        assert not log._followers

    bounded(test)


def test_records_form(tmp_path: Path) -> None:
    file = tmp_path / "f"
    records = [
        Record(Kind.BEGIN, 0, 7, T0, 0, 0, b""),
        Record(Kind.DATA, 2, 7, T0 + 1, 0, PAYLOAD_MAX, bytes(PAYLOAD_MAX)),
        Record(Kind.END, 0, 7, T0 + 2, 0, PAYLOAD_MAX, b""),
    ]
    file.write_bytes(b"".join(part for record in records for part in pack(record)))
    with file.open("rb") as opened_file:
        assert [item for _, item in forward(opened_file)] == records
    assert file.stat().st_size == sum(record.size for record in records)
    assert records[1].offset == 0
