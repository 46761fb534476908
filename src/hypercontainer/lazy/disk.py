"""What follows the metadata on the root disk of an image of which not all is here: its layers."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Part(Protocol):
    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True)
class File:
    """A part that is here, in an open file."""

    fd: int
    size_bytes: int

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, length, offset)


class Disk:
    """Of its parts that are not empty, one behind the other."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = [part for part in parts if part.size_bytes]
        self._starts, self.size_bytes = [], 0
        for part in self._parts:
            self._starts.append(self.size_bytes)
            self.size_bytes += part.size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """What is inside the disk; raises what its parts raise."""
        found = []
        while length:
            index = bisect_right(self._starts, offset) - 1
            part, start = self._parts[index], self._starts[index]
            count = min(length, start + part.size_bytes - offset)
            found.append(part.read(offset - start, count))
            offset, length = offset + count, length - count
        return b"".join(found)
