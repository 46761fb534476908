"""xz and bzip2 as streams, in bounded memory: an xz stream may ask for gigabytes.

Several streams one behind the other are one; what follows them has to be a stream, or xz's padding of zeros.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import Protocol

READ_BYTES = 1 << 16
XZ_MEMORY_BYTES = 128 << 20  # its highest preset takes 65 MiB


class Damaged(Exception):
    """The bytes are not what their beginning said, or want too much."""


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _xz() -> _Engine:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)


FORMATS: dict[str, Callable[[], _Engine]] = {"xz": _xz, "bzip2": bz2.BZ2Decompressor}


class Unpacked:
    """``source`` in plain; ``compression``: "xz" or "bzip2".  Raises Damaged, and what ``source`` raises."""

    def __init__(self, source: _Readable, compression: str) -> None:
        self._source, self._new = source, FORMATS[compression]
        self._engine = self._new()

    def read(self, size: int = READ_BYTES, /) -> bytes:
        """Some bytes, at most ``size``; b"" at the end."""
        while True:
            data = b""
            if self._engine.eof:
                data = self._after_stream()
                if not data:
                    return b""
                self._engine = self._new()
            elif self._engine.needs_input:
                data = self._source.read(READ_BYTES)
                if not data:
                    raise Damaged("they end early")
            try:
                if plain := self._engine.decompress(data, size):
                    return plain
            except (lzma.LZMAError, OSError, ValueError) as error:
                raise Damaged(str(error)) from error

    def _after_stream(self) -> bytes:
        """What follows a stream's end, b"" where nothing does."""
        rest = self._engine.unused_data.lstrip(b"\0")
        while not rest and (more := self._source.read(READ_BYTES)):
            rest = more.lstrip(b"\0")
        return rest
