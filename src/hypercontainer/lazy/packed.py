"""The bytes of one layer's blob: those that are here, and the way to have others."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from urllib3 import BaseHTTPResponse

from hypercontainer.errors import HyperError, RegistryError, Unavailable
from hypercontainer.image.blobs import PartialBlob
from hypercontainer.image.cancel import Guard
from hypercontainer.image.transport import Backoff, TransientError, read_piece, shut
from hypercontainer.lazy.spans import Spans
from hypercontainer.lazy.traffic import Traffic
from hypercontainer.linux.sparse import write_all

PIECE_BYTES = 256 << 10
AHEAD_BYTES, MAX_AHEAD_BYTES = 512 << 10, 4 << 20  # fetched with what was asked for, more where that goes on
FILL_BYTES = 8 << 20  # of one request for what nobody waits for
FIRST_PAUSE_S, LAST_PAUSE_S = 0.25, 5.0
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")

OpenRange = Callable[[int, int], BaseHTTPResponse]  # from, up to


class Packed:
    """What was asked for is in a file without a name, what has come in order in the blob's own, up to ``_done``.

    Thread safe; its descriptors are open until the process ends.
    """

    def __init__(
        self,
        what: str,
        size: int,
        scratch: int,
        source: OpenRange,
        traffic: Traffic,
        pool: ThreadPoolExecutor,
    ) -> None:
        """``scratch``: a descriptor of the empty file.  ``pool`` fetches what somebody waits for."""
        self.what, self.size, self._scratch, self._open = what, size, scratch, source
        self._traffic, self._pool = traffic, pool
        self._changed = threading.Condition()
        self._here, self._coming = Spans(), Spans()
        self._blob, self._done = -1, 0
        self._ahead, self._last_end = AHEAD_BYTES, 0
        self._failures, self._failure = 0, HyperError("")

    def read(self, start: int, end: int) -> bytes:
        """Of what is here."""
        with self._changed:
            blob, done = self._blob, self._done
        border = min(max(start, done), end)
        parts = [(blob, start, border), (self._scratch, border, end)]
        return b"".join(os.pread(fd, upto - at, at) for fd, at, upto in parts if upto > at)

    # ------------------------------------------------------------------------- what somebody waits for

    def demand(self, start: int, end: int, guard: Guard, wait_s: float) -> None:
        """These bytes are here when it returns.  Raises Unavailable where they are not within ``wait_s``, and sooner
        what there is no use in waiting for."""
        deadline = time.monotonic() + wait_s
        with self._changed:
            failures = self._failures
            while (gap := self._here.gap(start, end)) is not None:
                if self._failures > failures and not isinstance(self._failure, TransientError):
                    raise self._failure
                if not self._coming.touches(*gap):
                    claim = self._claimed(*gap)
                    self._pool.submit(self._fetch, *claim, guard, deadline)
                elif not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise Unavailable(f"{self.what}: nothing has come for {wait_s:g} s") from self._failure
            self._read_on(end, guard, deadline)

    def _read_on(self, end: int, guard: Guard, deadline: float) -> None:
        """Who reads half of what was fetched last, probably reads on: what follows comes meanwhile."""
        border = self._last_end
        if border - self._ahead // 2 < end <= border < self.size:
            gap = self._here.gap(border, min(border + PIECE_BYTES, self.size))
            if gap is not None and gap[0] == border and not self._coming.touches(*gap):
                self._pool.submit(self._fetch, *self._claimed(*gap), guard, deadline)

    def _claimed(self, start: int, end: int) -> tuple[int, int]:
        """With what probably follows."""
        goes_on = 0 <= start - self._last_end <= PIECE_BYTES
        self._ahead = min(2 * self._ahead, MAX_AHEAD_BYTES) if goes_on else AHEAD_BYTES
        wanted = self._here.gap(start, min(self.size, max(end, start + self._ahead)))
        assert wanted is not None and wanted[0] == start
        more = self._coming.gap(*wanted)
        end = more[1] if more is not None else end
        self._coming.add(start, end)
        self._last_end = end
        return start, end

    def _fetch(self, start: int, end: int, guard: Guard, deadline: float) -> None:
        """Until it is here, or there is no use in it or time for it any more."""
        pause_s, at = FIRST_PAUSE_S, start
        try:
            while at < end:
                try:
                    with self._traffic.urgent():
                        for data in self._pieces(at, end, guard):
                            self._arrived(at, data)
                            at, pause_s = at + len(data), FIRST_PAUSE_S
                except TransientError:
                    rest = deadline - time.monotonic()
                    if rest <= 0:
                        raise
                    guard.wait(min(pause_s, rest))
                    pause_s = min(2 * pause_s, LAST_PAUSE_S)
        except HyperError as error:
            with self._changed:
                self._failures, self._failure = self._failures + 1, error
        except OSError as error:
            with self._changed:
                self._failure = Unavailable(f"{self.what}: {error.strerror or error}")
                self._failures += 1
        finally:
            with self._changed:
                self._coming.remove(start, end)
                self._changed.notify_all()

    def _arrived(self, at: int, data: bytes) -> None:
        write_all(self._scratch, data, at)
        with self._changed:
            self._here.add(at, at + len(data))
            self._changed.notify_all()

    # ------------------------------------------------------------------------- what nobody waits for

    def follow(self, blob: int, done: int) -> None:
        """``blob``: a descriptor of the blob's own file, which has the bytes before ``done``."""
        with self._changed:
            self._blob = blob
        self._moved(done)

    def _moved(self, done: int) -> None:
        with self._changed:
            self._done = done
            self._here.add(0, done)
            self._changed.notify_all()

    def fill(self, blob: PartialBlob, guard: Guard, backoff: Backoff) -> None:
        """Append all that it lacks, when nothing is urgent."""
        self.follow(blob.reader(), blob.offset)
        while blob.offset < self.size:
            guard.check()
            with self._changed:
                gap = self._here.gap(blob.offset, self.size)
                if gap is not None and gap[0] == blob.offset and self._coming.touches(gap[0], gap[0] + 1):
                    self._changed.wait(LAST_PAUSE_S)
                    continue
            here = (gap[0] if gap is not None else self.size) - blob.offset
            if here:
                blob.append(self.read(blob.offset, blob.offset + min(here, PIECE_BYTES)))
                self._moved(blob.offset)
            elif gap is not None:
                try:
                    self._fill(blob, min(gap[1], gap[0] + FILL_BYTES), guard)
                    backoff.progressed()
                except TransientError as error:
                    backoff.wait(error)

    def _fill(self, blob: PartialBlob, end: int, guard: Guard) -> None:
        self._traffic.give_way(guard)
        for data in self._pieces(blob.offset, end, guard):
            blob.append(data)
            self._moved(blob.offset)
            self._traffic.give_way(guard)
            with self._changed:
                if self._coming.touches(blob.offset, end):
                    return

    def _pieces(self, start: int, end: int, guard: Guard) -> Iterator[bytes]:
        """The bytes of one request; TransientError where it ends too soon."""
        response = self._open(start, end)
        at = start
        with guard.calling(lambda: shut(response)):
            try:
                check_range(response, start, self.what)
                while at < end and (
                    data := read_piece(response, min(PIECE_BYTES, end - at), self.what, guard)
                ):
                    at += len(data)
                    yield data
            finally:
                if not response.closed:
                    response.close()
        if at < end:
            raise TransientError(f"{self.what}: the answer ended at {at} of {end} bytes")


def check_range(response: BaseHTTPResponse, start: int, what: str) -> None:
    """That the answer begins at ``start``; RegistryError for a registry that serves no ranges."""
    if response.status == 206:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is not None and int(match[1]) == start:
            return
    elif response.status == 200 and start == 0:
        return
    raise RegistryError(f"{what}: the registry does not serve parts of it")
