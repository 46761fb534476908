"""A layer's data, unpacked as it is read; every byte is verified before anybody gets it."""

from __future__ import annotations

import hashlib
import sys
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from isal import isal_zlib

from hypercontainer.errors import DigestMismatch, ImageError
from hypercontainer.image.cancel import Guard
from hypercontainer.lazy.contents import GZIP
from hypercontainer.lazy.packed import Packed
from hypercontainer.rootfs.table import Piece, Pieces

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CACHE_BYTES = 64 << 20
UNPACKING = 4  # pieces at once: each may be large
_STRIPES = 64
_GZIP_MEMBER = 31  # zlib's window bits for it
DAMAGE = (zlib.error, cast(type[Exception], isal_zlib.error), zstd.ZstdError)


class Cache:
    """What was unpacked last, of all layers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self.unpacking = threading.Semaphore(UNPACKING)

    def get(self, key: tuple[int, int]) -> bytes | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple[int, int], data: bytes) -> None:
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])


class Layer:
    """``read`` is called in many threads."""

    def __init__(self, number: int, pieces: Pieces, packing: str, packed: Packed, cache: Cache) -> None:
        """``number``: of the layers whose pieces are in ``cache``."""
        self.packed = packed
        self._number, self._pieces, self._cache = number, pieces, cache
        self._unpack = _gunzip if packing == GZIP else _unzstd
        self._turns = [threading.Lock() for _ in range(_STRIPES)]

    def read(self, offset: int, length: int, guard: Guard, wait_s: float) -> bytes:
        """Raises HyperError: what `Packed.demand` raises, DigestMismatch and ImageError for wrong bytes."""
        out = bytearray(length)
        for index in self._pieces.between(offset, offset + length):
            piece = self._pieces[index]
            data = self._data(index, piece, guard, wait_s)
            start, end = max(offset, piece.at), min(offset + length, piece.at + piece.size)
            out[start - offset : end - offset] = data[start - piece.at : end - piece.at]
        return bytes(out)

    def _data(self, index: int, piece: Piece, guard: Guard, wait_s: float) -> bytes:
        key = (self._number, index)
        with self._turns[index % _STRIPES]:  # who comes second finds it unpacked
            data = self._cache.get(key)
            if data is None:
                self.packed.demand(piece.start, piece.end, guard, wait_s)
                with self._cache.unpacking:
                    data = self._unpacked(piece)
                self._cache.put(key, data)
        return data

    def _unpacked(self, piece: Piece) -> bytes:
        what = f"bytes {piece.start} to {piece.end} of {self.packed.what}"
        end = piece.skip + piece.size
        try:
            data = self._unpack(self.packed.read(piece.start, piece.end), end)[piece.skip : end]
        except DAMAGE as error:
            raise ImageError(f"{what} are damaged: {error}") from error
        digest = hashlib.sha256(data).digest()
        if digest != piece.digest:
            raise DigestMismatch(
                what, expected=f"sha256:{piece.digest.hex()}", actual=f"sha256:{digest.hex()}"
            )
        return data


def _gunzip(packed: bytes, size: int) -> bytes:
    """At most ``size`` bytes of the one member."""
    unpack = cast(Callable[[bytes, int], bytes], isal_zlib.decompressobj(_GZIP_MEMBER).decompress)
    return unpack(packed, size)


def _unzstd(packed: bytes, size: int) -> bytes:
    """At most ``size`` bytes of the one frame."""
    return zstd.ZstdDecompressor().decompress(packed, size)
