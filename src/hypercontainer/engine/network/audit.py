"""What pods were denied: written down, kept for a while, told to who follows.

Of the same again there is one line a second, with how often it was.  Bounded: what is counted at a time, what is
written a second, how large the files are, what a follower is behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hypercontainer.contract.answers import Denial
from hypercontainer.engine import times

FILE_BYTES = 4 << 20  # of each of two files
AT_ONCE = 256  # lines a second
BEHIND = 1024
EVERY_S = 1.0

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Denied:
    """``name``: that led to the address, or that was asked for; of that alone there is no ``address``."""

    pod: str
    address: str
    port: int
    protocol: str
    name: str
    reason: str


class Audit:
    """Owner of the files.  ``called``: a pod's name; ``tell`` is told of each line."""

    def __init__(self, folder: Path, called: Callable[[str], str], tell: Callable[[Denial], None]) -> None:
        self._path, self._called, self._tell = folder / "denied.jsonl", called, tell
        self._former = folder / "denied.1.jsonl"
        self._counted: dict[Denied, int] = {}
        self._names: dict[str, str] = {}  # of these, as they were called then
        self._timer: asyncio.TimerHandle | None = None
        self._followers: set[asyncio.Queue[Denial]] = set()
        self._lost = 0

    def note(self, denied: Denied) -> None:
        if denied in self._counted or len(self._counted) < AT_ONCE:
            self._counted[denied] = self._counted.get(denied, 0) + 1
            self._names.setdefault(denied.pod, self._called(denied.pod))
        else:
            self._lost += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._write)

    def flush(self) -> None:
        """What is counted until now is written."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()

    def _write(self) -> None:
        self._timer = None
        counted, self._counted = self._counted, {}
        now = times.now()
        names, self._names = self._names, {}
        lines = [_line(now, names[denied.pod], denied, count) for denied, count in counted.items()]
        if self._lost:
            lines.append(Denial(time=now, pod="", reason="more was denied than is written", count=self._lost))
            self._lost = 0
        try:
            self._append(b"".join(_encode(line) + b"\n" for line in lines))
        except OSError as error:
            log.warning("what was denied cannot be written down: %s", error)
        for line in lines:
            self._tell(line)
            for queue in self._followers:
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait(line)

    def _append(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(data)
            full = file.tell() > FILE_BYTES
        if full:
            self._path.rename(self._former)

    def kept(self, pod: str = "") -> Iterator[Denial]:
        """From the oldest on; ``pod``: of this one alone."""
        for path in (self._former, self._path):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                for text in file:
                    with contextlib.suppress(msgspec.DecodeError):  # a last line that was cut off
                        line = msgspec.json.decode(text, type=Denial)
                        if pod in ("", line.pod):
                            yield line

    async def follow(self, pod: str = "", *, on: bool = False) -> AsyncIterator[Denial]:
        """What is kept, and with ``on`` what comes then, for ever."""
        self.flush()
        queue: asyncio.Queue[Denial] = asyncio.Queue(BEHIND)
        self._followers.add(queue)
        try:
            for line in list(self.kept(pod)):
                yield line
            while on:
                line = await queue.get()
                if pod in ("", line.pod):
                    yield line
        finally:
            self._followers.discard(queue)


def _line(now: str, called: str, denied: Denied, count: int) -> Denial:
    return Denial(
        time=now,
        pod=denied.pod,
        pod_name=called,
        address=denied.address,
        port=denied.port,
        protocol=denied.protocol,
        name=denied.name,
        reason=denied.reason,
        count=count,
    )
