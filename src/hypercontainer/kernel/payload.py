"""Takes the ELF kernel out of a bzImage, so that no guest has to unpack it at each boot.

The place of the payload is the boot protocol's (Documentation/x86/boot.rst, ``payload_offset``); it ends in its
uncompressed size, which is checked.  The LZ4 block and legacy frame formats are those of
lz4_Block_format.md and lz4_Frame_format.md.  All that goes wrong is a ``ValueError``.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable

from backports import zstd

_SETUP_SECTORS_AT, _PAYLOAD_AT = 0x1F1, 0x248
_MAX_BYTES = 256 << 20
_MIN_MATCH = 4
_SIZE_BYTES = 4


def extract(image: bytes) -> bytes:
    """The decompressed payload of the bzImage ``image``."""
    try:
        offset, length = struct.unpack_from("<II", image, _PAYLOAD_AT)
        start = (image[_SETUP_SECTORS_AT] + 1) * 512 + offset
    except (struct.error, IndexError):
        raise ValueError("the file ends in its header") from None
    payload = image[start : start + length]
    if not length or len(payload) != length:
        raise ValueError("the payload lies outside the file")
    for magic, decompress in _FORMATS.items():
        if payload.startswith(magic):
            try:
                kernel = decompress(payload)
            except (lzma.LZMAError, zlib.error, zstd.ZstdError, IndexError) as error:
                raise ValueError(f"the payload is damaged: {error}") from error
            if len(kernel) != int.from_bytes(payload[-_SIZE_BYTES:], "little"):
                raise ValueError("the payload is not of the size it states")
            return kernel
    raise ValueError(f"the payload's compression is unknown (it starts with {payload[:4].hex()})")


def _unxz(data: bytes) -> bytes:
    return lzma.LZMADecompressor().decompress(data, _MAX_BYTES)


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, _MAX_BYTES)


def _unzstd(data: bytes) -> bytes:
    return zstd.ZstdDecompressor().decompress(data, _MAX_BYTES)


def _unlz4(data: bytes) -> bytes:
    """A legacy frame: the magic, then blocks, each after its size."""
    out: list[bytes] = []
    position, end = 4, len(data) - _SIZE_BYTES
    while position < end:
        size = int.from_bytes(data[position : position + 4], "little")
        position += 4
        if size > end - position:
            raise ValueError("an LZ4 block lies outside the payload")
        out.append(unlz4_block(data[position : position + size]))
        position += size
    return b"".join(out)


_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x02\x21\x4c\x18": _unlz4,
    b"\xfd7zXZ\0": _unxz,
    b"\x1f\x8b": _gunzip,
    b"\x28\xb5\x2f\xfd": _unzstd,
}


def unlz4_block(data: bytes) -> bytes:
    """One LZ4 block; raises IndexError where it ends early, ValueError where it refers to what is not there."""
    out = bytearray()
    position, end = 0, len(data)
    while True:
        token = data[position]
        literals, position = _length(data, position + 1, token >> 4)
        if position + literals > end:
            raise ValueError("LZ4 literals lie outside their block")
        out += data[position : position + literals]
        position += literals
        if position == end:
            return bytes(out)
        distance = data[position] | data[position + 1] << 8
        match, position = _length(data, position + 2, token & 15)
        match += _MIN_MATCH
        start = len(out) - distance
        if start < 0 or not distance or len(out) + match > _MAX_BYTES:
            raise ValueError("an LZ4 match lies outside the output")
        if distance >= match:
            out += out[start : start + match]
        else:  # it overlaps what it writes: a repetition
            pattern = out[start:]
            out += (pattern * (match // distance + 1))[:match]


def _length(data: bytes, position: int, length: int) -> tuple[int, int]:
    """A length that goes on in the following bytes while they are 255; and where the next thing is."""
    if length == 15:
        while True:
            more = data[position]
            position += 1
            length += more
            if more != 255:
                break
    return length, position
