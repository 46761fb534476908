"""Reading a container's log while it is being written: from a point in time, the last lines, and on and on.

Files are read a record at a time, so memory does not depend on their size.  Nothing polls: at the end of the log
a follower waits for the writer's word.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from hypercontainer.engine.log.records import Damage, Kind, Record, forward, read_at, read_before
from hypercontainer.engine.times import from_ns

log = logging.getLogger(__name__)

STDERR = 2
READ_BYTES = 128 * 1024
# Records that nobody asked for are passed over, but the event loop gets its turn.
RECORDS_PER_TURN = 256
_Key = tuple[int, int]  # run, stream
Place = tuple[int, int]  # file, position in it


class Source(Protocol):
    """The log, as its reader sees it."""

    @property
    def run(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def sequences(self) -> list[int]: ...
    def path(self, sequence: int) -> Path: ...
    def following(self) -> AbstractContextManager[asyncio.Event]: ...


@dataclass
class _Start:
    """Where reading begins, and of each stream the first byte that counts.

    ``cuts`` is for what was there when the start was found; what is written later counts in full.
    """

    sequence: int
    position: int
    cuts: dict[_Key, float] = field(default_factory=dict)
    scanned: Place = (0, 0)  # up to where ``cuts`` say what counts

    def clip(self, place: Place, record: Record) -> bytes:
        if place >= self.scanned:
            return record.payload
        cut = self.cuts.get((record.run, record.stream), math.inf) - record.offset
        return record.payload[int(min(max(cut, 0), len(record.payload))) :]


async def read_log(
    source: Source,
    *,
    follow: bool,
    since_ns: int | None,
    until_ns: int | None,
    tail: int | None,
    timestamps: bool,
    details: bool = False,
    end: Place | None = None,
) -> AsyncGenerator[tuple[int, bytes], None]:
    """See ``ContainerLog.read``; what lies at ``end`` or behind it is not read."""
    stamper = _Stamper(timestamps=timestamps, details=details) if timestamps or details else None
    run = source.run
    start = _find_start(source, since_ns, until_ns, tail)
    cursor = _Cursor(source, start.sequence, start.position)
    with source.following() as changed, contextlib.closing(cursor):
        while True:
            changed.clear()
            for count, (place, item) in enumerate(cursor.records()):
                if count % RECORDS_PER_TURN == 0:
                    await asyncio.sleep(0)
                if end is not None and place >= end:
                    return
                if isinstance(item, Damage):
                    log.warning("%s: %d bytes at %d are damaged", source.path(place[0]), item.size, place[1])
                    yield STDERR, _note(f"{item.size} bytes of this log are damaged")
                    continue
                is_last = follow and item.kind is Kind.END and item.run == run
                if is_last or (until_ns is not None and item.time_ns > until_ns):
                    return
                if since_ns is None or item.time_ns >= since_ns:
                    stream, text = _shown(item, start.clip(place, item), stamper)
                    if text:
                        yield stream, text
            if not follow or not source.running or not await _changes(changed, until_ns):
                return


async def _changes(changed: asyncio.Event, until_ns: int | None) -> bool:
    """Waits for more; False when the time is over."""
    left_s = None if until_ns is None else max(0.0, (until_ns - time.time_ns()) / 1e9)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left_s):
            await changed.wait()
            return True
    return False


def _shown(record: Record, payload: bytes, stamper: _Stamper | None) -> tuple[int, bytes]:
    if record.kind is Kind.DROPPED:
        count = int.from_bytes(record.payload, "little")
        return STDERR, _note(f"{count} bytes of output were dropped: the disk was full")
    if record.kind is not Kind.DATA or not payload:
        return record.stream, b""
    return record.stream, stamper.stamp(record, payload) if stamper else payload


def _note(text: str) -> bytes:
    return f"[hyper: {text}]\n".encode()


class _Stamper:
    """Puts the time before each line: that of the record in which the line begins; and details, of which there are
    none but the blank behind them."""

    def __init__(self, *, timestamps: bool, details: bool) -> None:
        self._timestamps = timestamps
        self._details = b" " if details else b""
        self._run = -1
        self._within: set[int] = set()  # streams of the run that are in the middle of a line

    def stamp(self, record: Record, payload: bytes) -> bytes:
        if record.run != self._run:
            self._run, self._within = record.run, set()
        mark = (from_ns(record.time_ns).encode() + b" " if self._timestamps else b"") + self._details
        body = payload.removesuffix(b"\n").replace(b"\n", b"\n" + mark)
        first = b"" if record.stream in self._within else mark
        if payload.endswith(b"\n"):
            self._within.discard(record.stream)
            return first + body + b"\n"
        self._within.add(record.stream)
        return first + body


class _Cursor:
    """A place in the log's files, moving forward."""

    def __init__(self, source: Source, sequence: int, position: int) -> None:
        self._source = source
        self._sequence = sequence
        self._position = position
        self._file: BinaryIO | None = None

    def records(self) -> Iterator[tuple[Place, Record | Damage]]:
        """What there is from here to the present end of the log."""
        while True:
            if self._file is not None or self._open(self._sequence):
                assert self._file is not None
                for position, item in forward(self._file, self._position):
                    self._position = position + item.size
                    yield (self._sequence, position), item
            if not self._go_on():
                return

    def _go_on(self) -> bool:
        """Whether there is more: in this file, which grew meanwhile, or in a later one."""
        later = [sequence for sequence in self._source.sequences() if sequence > self._sequence]
        if self._file is not None and os.fstat(self._file.fileno()).st_size > self._position:
            return True
        if not later:
            return False
        self.close()
        self._sequence, self._position = later[0], 0
        return True

    def _open(self, sequence: int) -> bool:
        try:
            self._file = self._source.path(sequence).open("rb", buffering=READ_BYTES)
        except FileNotFoundError:  # not yet written, or rotated away
            return False
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


# ------------------------------------------------------------------------------------ where to begin


def _find_start(source: Source, since_ns: int | None, until_ns: int | None, tail: int | None) -> _Start:
    sequences = source.sequences()
    if not sequences:
        return _Start(1, 0)
    if tail is not None and tail >= 0:
        return _tail_start(source, sequences, since_ns, until_ns, tail)
    for sequence in reversed(sequences if since_ns is not None else []):
        first = _first_record(source.path(sequence))
        if first is not None and since_ns is not None and first.time_ns <= since_ns:
            return _Start(sequence, 0)
    return _Start(sequences[0], 0)


def _first_record(path: Path) -> Record | None:
    try:
        with path.open("rb") as file:
            return read_at(file, 0)
    except FileNotFoundError:
        return None


def _tail_start(
    source: Source, sequences: list[int], since_ns: int | None, until_ns: int | None, lines: int
) -> _Start:
    try:
        end = (sequences[-1], source.path(sequences[-1]).stat().st_size)
    except FileNotFoundError:
        return _Start(sequences[-1], 0)
    finder = _TailFinder(lines)
    start = end
    for place, record in _backward(source, sequences):
        if until_ns is not None and record.time_ns > until_ns:
            continue
        if lines == 0 or (since_ns is not None and record.time_ns < since_ns):
            break
        start = place
        if record.kind is Kind.DATA and finder.take(record):
            break
    return _Start(*start, finder.cuts, end)


class _TailFinder:
    """Goes through a log backwards and finds where its last ``wanted`` lines begin.

    A line is one stream's, up to a newline or the stream's end; lines of two streams may be interleaved.
    """

    def __init__(self, wanted: int) -> None:
        self._left = wanted
        self._full = False  # one line more than wanted was met
        self._open: set[_Key] = set()  # streams whose earliest wanted line may begin further back
        self.cuts: dict[_Key, float] = {}  # by stream: the first byte that counts

    def take(self, record: Record) -> bool:
        """The record before the ones taken so far; True when nothing before it counts."""
        key = (record.run, record.stream)
        payload, offset = record.payload, record.offset
        if self._full:
            if key in self._open:
                self._cut_line_start(key, payload, offset)
        elif key not in self.cuts and not payload.endswith(b"\n") and self._left == 0:
            self._stop(key, offset + len(payload))
        else:
            if key not in self.cuts and not payload.endswith(b"\n"):
                self._left -= 1  # a last line without an end
            self._open.add(key)
            self._count_lines(key, payload, offset)
        return self._full and not self._open

    def _count_lines(self, key: _Key, payload: bytes, offset: int) -> None:
        found = payload.count(b"\n")
        if found <= self._left:
            self._left -= found
            self.cuts[key] = offset
            return
        at = len(payload)
        for _ in range(self._left + 1):
            at = payload.rindex(b"\n", 0, at)
        self._left = 0
        self._stop(key, offset + at + 1)

    def _stop(self, key: _Key, cut: int) -> None:
        self.cuts[key] = cut
        self._full = True
        self._open.discard(key)

    def _cut_line_start(self, key: _Key, payload: bytes, offset: int) -> None:
        at = payload.rfind(b"\n")
        self.cuts[key] = offset + at + 1
        if at >= 0:
            self._open.discard(key)


def _backward(source: Source, sequences: list[int]) -> Iterator[tuple[Place, Record]]:
    """Every record, the last one first; damage is passed over."""
    for sequence in reversed(sequences):
        try:
            file = source.path(sequence).open("rb", buffering=0)
        except FileNotFoundError:  # rotated away meanwhile
            return
        with file:
            end = os.fstat(file.fileno()).st_size
            while (record := read_before(file, end)) is not None:
                end -= record.size
                yield (sequence, end), record
            if end:
                places = [at for at, item in forward(file) if isinstance(item, Record) and at < end]
                for at in reversed(places):
                    if (record := read_at(file, at)) is not None:
                        yield (sequence, at), record
