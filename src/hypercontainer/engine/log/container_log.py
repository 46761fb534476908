"""What a container has written, on disk: complete after a crash of hyperd, bounded in size.

``ContainerLog`` is the one writer; its files are numbered, the highest is written to, the lowest is removed when
there are too many.  What the disk has no room for is dropped, and said so in the log: neither the container nor
hyperd stops for it.  Together with the guest, which keeps what is not acknowledged, a log is complete: a new
hyperd asks for every stream from ``offsets`` on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

from hypercontainer.contract.spec import LogConfig
from hypercontainer.engine.log.reader import read_log
from hypercontainer.engine.log.records import PAYLOAD_MAX, Kind, Record, last_record, pack

log = logging.getLogger(__name__)

STDOUT, STDERR = 1, 2
_SUFFIX = ".log"
# Where a container of an older hyperd says nothing.
MAX_SIZE_BYTES = 20 << 20
MAX_FILES = 5


class ContainerLog:
    """Use ``ContainerLog.open``.  All calls from the event loop's thread; each write is one system call."""

    def __init__(self, directory: Path, config: LogConfig, clock: Callable[[], int]) -> None:
        self._directory = directory
        self._max_size_bytes = config.max_size_bytes or MAX_SIZE_BYTES
        self._max_files = config.max_files or MAX_FILES
        self._clock = clock
        self._fd = -1
        self._size = 0
        self._sequence = 0  # of the newest file, 0 while there is none
        self._ends = {STDOUT: 0, STDERR: 0}
        self._dropped = {STDOUT: 0, STDERR: 0}
        self._failing = False
        self._followers: set[asyncio.Event] = set()
        self.run = 0
        self.running = False  # a run has begun and has not ended

    @classmethod
    def open(
        cls, directory: Path, config: LogConfig, *, clock: Callable[[], int] = time.time_ns
    ) -> ContainerLog:
        """The log in ``directory``, as an earlier hyperd left it; nothing is written before there is need to."""
        made = cls(directory, config, clock)
        made._recover()
        return made

    # -- writing

    def begin_run(self, run: int) -> None:
        """The container has been started for the ``run``th time: its streams count from 0."""
        self.run, self.running = run, True
        self._ends = {STDOUT: 0, STDERR: 0}
        self._dropped = {STDOUT: 0, STDERR: 0}
        self._write(Kind.BEGIN, 0, b"")

    def end_run(self) -> None:
        """All output of this run is here: who follows it is done."""
        if self.running:
            self._write(Kind.END, 0, b"")
            self.running = False
            self._close_file()
        self._notify()

    def append(self, stream: int, data: bytes) -> None:
        """The next bytes of ``stream`` (1 or 2).  They count as kept when this returns, also where they had to
        be dropped."""
        for begin in range(0, len(data), PAYLOAD_MAX):
            part = data[begin : begin + PAYLOAD_MAX]
            self._ends[stream] += len(part)
            if not (self._confess() and self._write(Kind.DATA, stream, part)):
                self._dropped[stream] += len(part)

    def offsets(self, run: int) -> dict[int, int]:
        """By stream, where the bytes begin that the log does not have."""
        return dict(self._ends) if run == self.run else {STDOUT: 0, STDERR: 0}

    def close(self) -> None:
        """Let go of the files; who follows is done.  The run itself may go on."""
        self._close_file()
        self.running = False
        self._notify()

    # -- reading

    def read(
        self,
        *,
        follow: bool = False,
        since_ns: int | None = None,
        until_ns: int | None = None,
        tail: int | None = None,
        timestamps: bool = False,
        details: bool = False,
    ) -> AsyncIterator[tuple[int, bytes]]:
        """(stream, bytes) in the order of writing, at most PAYLOAD_MAX of the log's bytes at a time.

        ``tail``: the last so many lines; ``timestamps``: RFC 3339 with nanoseconds and a blank before each line;
        ``details``: none and a blank, behind that.
        ``follow`` waits for more until the run that is under way ends.
        """
        return read_log(
            self,
            follow=follow,
            since_ns=since_ns,
            until_ns=until_ns,
            tail=tail,
            timestamps=timestamps,
            details=details,
        )

    def until_now(self) -> Callable[[int], AsyncGenerator[bytes, None]]:
        """All that is kept at this moment, by stream; what is appended from now on is not of it."""
        end = (self._sequence, self._size if self._fd >= 0 else self._size_on_disk())

        async def of(stream: int) -> AsyncGenerator[bytes, None]:
            everything = read_log(
                self, follow=False, since_ns=None, until_ns=None, tail=None, timestamps=False, end=end
            )
            async with contextlib.aclosing(everything):
                async for each, data in everything:
                    if each == stream:
                        yield data

        return of

    def _size_on_disk(self) -> int:
        """Of the newest file, which is not open."""
        try:
            return self.path(self._sequence).stat().st_size
        except FileNotFoundError:
            return 0

    def sequences(self) -> list[int]:
        """The numbers of the files there are, oldest first."""
        try:
            stems = [path.stem for path in self._directory.iterdir() if path.suffix == _SUFFIX]
        except FileNotFoundError:
            return []
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:08d}{_SUFFIX}"

    @contextlib.contextmanager
    def following(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever the log has changed."""
        changed = asyncio.Event()
        self._followers.add(changed)
        try:
            yield changed
        finally:
            self._followers.discard(changed)

    # -- inside

    def _recover(self) -> None:
        for sequence in reversed(self.sequences()):
            self._sequence = self._sequence or sequence
            path = self.path(sequence)
            try:
                with path.open("r+b") as file:
                    good, record = last_record(file)
                    torn = os.fstat(file.fileno()).st_size - good
                    if torn and sequence == self._sequence:
                        log.warning("%s: %d bytes at its end are no record; cut off", path, torn)
                        file.truncate(good)
            except OSError as error:
                log.warning("%s cannot be read: %s", path, error.strerror)
                continue
            if record is not None:
                self.run, self.running = record.run, record.kind is not Kind.END
                self._ends = {STDOUT: record.stdout_end, STDERR: record.stderr_end}
                return

    def _confess(self) -> bool:
        """Write down what was dropped; False where there is still no room for that."""
        for stream, count in self._dropped.items():
            if count:
                if not self._write(Kind.DROPPED, stream, count.to_bytes(8, "little")):
                    return False
                self._dropped[stream] = 0
        return True

    def _write(self, kind: Kind, stream: int, payload: bytes) -> bool:
        ends = self._ends
        record = Record(kind, stream, self.run, self._clock(), ends[STDOUT], ends[STDERR], payload)
        try:
            self._make_room(record.size)
            written = os.writev(self._fd, pack(record))
            if written < record.size:
                os.ftruncate(self._fd, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if not self._failing:
                log.warning("%s: output of the container is dropped: %s", self._directory, error.strerror)
            self._failing = True
            return False
        self._failing = (
            self._failing and kind is not Kind.DATA
        )  # a small record may fit where output does not
        self._size += record.size
        self._notify()
        return True

    def _make_room(self, size: int) -> None:
        """Have a file open that takes ``size`` bytes more: the newest, or one more."""
        if self._fd < 0:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_file(max(self._sequence, 1))
        if self._size and self._size + size > self._max_size_bytes:
            self._open_file(self._sequence + 1)
            for sequence in self.sequences()[: -self._max_files]:
                self.path(sequence).unlink(missing_ok=True)

    def _open_file(self, sequence: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self.path(sequence), flags, 0o600)
        self._close_file()
        self._fd, self._sequence, self._size = fd, sequence, os.fstat(fd).st_size

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _notify(self) -> None:
        for changed in self._followers:
            changed.set()
