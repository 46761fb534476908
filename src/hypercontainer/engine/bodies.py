"""Records as they lie in the file of the engine's memory: JSON, which is compressed where it is long.

200 published ports are 60 KB of the same words, in the records of a pod and of its container, and a start writes these
a dozen times.  JSON never begins as zlib's format does.
"""

from __future__ import annotations

import zlib
from contextlib import suppress

LONG_BYTES = 8192
_LEVEL = 3  # for JSON the quickest (60 KB: 0.08 ms; 0.13 at level 1)
_BEGINS = b"\x78"


def packed(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL) if len(body) > LONG_BYTES else body


def unpacked(stored: bytes) -> bytes:
    """What is damaged as it is: JSON it is not."""
    if stored.startswith(_BEGINS):
        with suppress(zlib.error):
            return zlib.decompress(stored)
    return stored
