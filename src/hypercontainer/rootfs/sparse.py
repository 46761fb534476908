"""Sparse files in tar: GNU's old header, and the PAX forms 0.0, 0.1 and 1.0 (GNU tar manual, appendix)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from . import pax
from .limits import Refusal

Segments = list[tuple[int, int]]

BLOCK = 512
MAX_SEGMENTS = 1 << 18
MAX_FILE_BYTES = 1 << 44  # 16 TiB, the largest file of ext4, which holds the writable layer
HEADER_PAIRS = slice(386, 482)
HEADER_MORE, HEADER_SIZE = 482, slice(483, 495)
CONTINUED_PAIRS, CONTINUED_MORE = slice(0, 504), 504
MAX_NUMBER_BYTES = 20


def from_header(
    header: bytes, read: Callable[[int], bytes], number: Callable[[bytes, str], int]
) -> tuple[Segments, int]:
    """Segments and size of an old GNU sparse entry, whose map goes on in blocks before the data."""
    size = number(header[HEADER_SIZE], "size")
    pairs, more = header[HEADER_PAIRS], header[HEADER_MORE]
    segments: Segments = []
    while True:
        for offset, length in struct.iter_unpack("12s12s", pairs):
            if not length[0]:
                break
            segments.append((number(offset, "sparse offset"), number(length, "sparse length")))
        if not more:
            return segments, size
        block = read(BLOCK)
        if len(block) < BLOCK or len(segments) > MAX_SEGMENTS:
            raise Refusal("its sparse map is cut off, or too long")
        pairs, more = block[CONTINUED_PAIRS], block[CONTINUED_MORE]


def from_records(
    records: pax.Records, read_data: Callable[[int], bytes]
) -> tuple[Segments, int, bytes] | None:
    """Segments, size and name of a sparse file in PAX form; None where the entry is none.

    Form 1.0 has its map at the start of the data, which is read off.
    """
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
        values = _leading_numbers(read_data)
    elif pax.SPARSE_MAP in records:
        text = records[pax.SPARSE_MAP]
        values = [_number(value) for value in text.split(b",")] if text else []
    else:
        return None
    if size is None or len(values) % 2:
        raise Refusal("its sparse map is incomplete")
    return (
        list(zip(values[::2], values[1::2], strict=True)),
        _number(size),
        records.get(b"GNU.sparse.name", b""),
    )


def _leading_numbers(read_data: Callable[[int], bytes]) -> list[int]:
    """The numbers of form 1.0: a count of pairs and the pairs, a line each, padded to a block."""
    text = bytearray()
    lines, needed = 0, 1
    while lines < needed:
        block = read_data(BLOCK)
        if len(block) < BLOCK:
            raise Refusal("its sparse map is cut off")
        text += block
        lines += block.count(b"\n")
        if needed == 1 and lines:
            count = _number(bytes(text[: text.index(b"\n")]))
            if count > MAX_SEGMENTS:
                raise Refusal(f"its sparse map has {count} segments, at most {MAX_SEGMENTS}")
            needed += 2 * count
        if len(text) > needed * (MAX_NUMBER_BYTES + 1) + BLOCK:
            raise Refusal("its sparse map has numbers that are too long")
    return [_number(line) for line in bytes(text).split(b"\n", needed)[1:needed]]


def _number(digits: bytes) -> int:
    if len(digits) > MAX_NUMBER_BYTES or not digits.isdigit():
        raise Refusal(f"its sparse map has something else than a number: {digits[:40]!r}")
    return int(digits)


def verify(segments: Segments, size: int, stored: int) -> None:
    """Segments must be in order, without overlap, inside the file, and make up the stored data."""
    end = 0
    for offset, length in segments:
        if offset < end or length < 0:
            raise Refusal("its sparse map is out of order")
        end = offset + length
    if not end <= size <= MAX_FILE_BYTES or len(segments) > MAX_SEGMENTS:
        raise Refusal(f"its sparse map ends at {end} in a file of {size} bytes")
    total = sum(length for _, length in segments)
    if total != stored:
        raise Refusal(f"its sparse map has {total} bytes of data, the archive {stored}")
