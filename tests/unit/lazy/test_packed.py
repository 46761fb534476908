"""What is fetched of a blob, and when: what a reader asks for, and what probably follows."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from urllib3 import HTTPResponse

from hypercontainer.image.cancel import Guard
from hypercontainer.lazy.packed import AHEAD_BYTES, Packed
from hypercontainer.lazy.traffic import Traffic

BLOB = random.Random(3).randbytes(16 * AHEAD_BYTES)
BLOCK = 4096
WAIT_S = 10.0


class Source:
    """A registry that answers ranges, and notes them."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.more = threading.Condition()

    def __call__(self, start: int, end: int) -> HTTPResponse:
        with self.more:
            self.asked.append((start, end))
            self.more.notify_all()
        said = {"Content-Range": f"bytes {start}-{end - 1}/{len(BLOB)}"}
        return HTTPResponse(
            io.BytesIO(BLOB[start:end]), status=206, headers=said, preload_content=False, request_method="GET"
        )

    def wait_for(self, count: int) -> None:
        with self.more:
            assert self.more.wait_for(lambda: len(self.asked) >= count, WAIT_S)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def packed(source: Source) -> Iterator[Packed]:
    scratch = os.memfd_create("scratch")
    with ThreadPoolExecutor(2) as pool:
        yield Packed("blob", len(BLOB), scratch, source, Traffic(), pool)
    os.close(scratch)


def read(packed: Packed, at: int) -> None:
    packed.demand(at, at + BLOCK, Guard("test"), WAIT_S)
    assert packed.read(at, at + BLOCK) == BLOB[at : at + BLOCK]


def test_who_reads_on_waits_once(packed: Packed, source: Source) -> None:
    """The next part, and a larger one, is asked for while the reader is in the midst of this one."""
    begin = 2 * AHEAD_BYTES
    read(packed, begin)
    assert source.asked == [(begin, begin + AHEAD_BYTES)]
    read(packed, begin + AHEAD_BYTES // 4)
    assert len(source.asked) == 1
    read(packed, begin + AHEAD_BYTES // 2)
    source.wait_for(2)
    assert source.asked[1] == (begin + AHEAD_BYTES, begin + 3 * AHEAD_BYTES)
    read(packed, begin + AHEAD_BYTES - BLOCK)
    assert len(source.asked) == 2


def test_who_reads_here_and_there_gets_no_more_than_that(packed: Packed, source: Source) -> None:
    for part in (9, 3, 12, 6):
        read(packed, part * AHEAD_BYTES)
    assert source.asked == [(part * AHEAD_BYTES, (part + 1) * AHEAD_BYTES) for part in (9, 3, 12, 6)]


def test_nothing_is_asked_for_twice(packed: Packed, source: Source) -> None:
    for at in range(0, len(BLOB), BLOCK):
        read(packed, at)
    assert sorted(source.asked) == source.asked
    assert sum(end - start for start, end in source.asked) == len(BLOB)
