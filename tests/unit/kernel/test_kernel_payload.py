from __future__ import annotations

import gzip
import lzma
import struct
from collections.abc import Callable

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.kernel import payload

ELF = b"\x7fELF" + bytes(range(256)) * 40


def lz4_stored(data: bytes) -> bytes:
    """A block of literals alone."""
    length = len(data)
    if length < 15:
        return bytes([length << 4]) + data
    rest = length - 15
    return b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + data


def lz4_frame(*blocks: bytes) -> bytes:
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(block)) + block for block in blocks)


def bzimage(content: bytes, *, size: int = len(ELF)) -> bytes:
    setup_sectors, offset = 2, 100
    data = bytearray(512 * (setup_sectors + 1) + offset)
    data[0x1F1] = setup_sectors
    sized = content + size.to_bytes(4, "little")
    struct.pack_into("<II", data, 0x248, offset, len(sized))
    return bytes(data) + sized + b"what follows"


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        lzma.compress,
        zstd.compress,
        lambda data: lz4_frame(lz4_stored(data[:5000]), lz4_stored(data[5000:])),
    ],
)
def test_the_kernel_is_what_was_packed(compress: Callable[[bytes], bytes]) -> None:
    assert payload.extract(bzimage(compress(ELF))) == ELF


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"\x30abc", b"abc"),
        (b"\x00", b""),
        # literals "abcd", a match of 4 at distance 4, the last literals "x"
        (b"\x40abcd\x04\x00\x10x", b"abcdabcdx"),
        # a match that overlaps what it writes: distance 1, length 4 + 15 + 3
        (b"\x1fa\x01\x00\x03\x10b", b"a" * 23 + b"b"),
        # distance 2, length 5
        (b"\x21ab\x02\x00\x10c", b"abababac"),
        # a long run of literals: 15 + 255 + 0
        (b"\xf0\xff\x00" + b"z" * 270, b"z" * 270),
    ],
)
def test_lz4_blocks_by_hand(block: bytes, expected: bytes) -> None:
    assert payload.unlz4_block(block) == expected


@pytest.mark.parametrize(
    "image",
    [
        b"",
        bytes(0x300),
        bzimage(b"no known magic"),
        bzimage(gzip.compress(ELF))[:-3000],
        bzimage(gzip.compress(ELF)[:10] + b"damaged"),
        bzimage(gzip.compress(ELF)[:-12]),  # a stream that ends early
        bzimage(lzma.compress(ELF), size=len(ELF) + 1),
        bzimage(lz4_frame(b"\x40ab")),  # literals beyond the block
        bzimage(lz4_frame(b"\x10a\x02\x00\x10b")),  # a match before the output
        bzimage(lz4_frame(b"\x10a\x00\x00\x10b")),  # a distance of nothing
        bzimage(lz4_frame(b"\xf0\xff")),  # a length without an end
        bzimage(b"\x02\x21\x4c\x18" + b"\xff\xff\xff\x7f"),  # a block beyond the payload
    ],
)
def test_what_is_damaged_is_a_value_error(image: bytes) -> None:
    with pytest.raises(ValueError):
        payload.extract(image)


@given(st.binary(max_size=200))
def test_noise_never_does_worse(noise: bytes) -> None:
    for content in (lz4_frame(noise), b"\x02\x21\x4c\x18" + noise, noise):
        try:
            payload.extract(bzimage(content))
        except ValueError:
            continue
