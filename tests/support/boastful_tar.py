"""Archives of a few hundred bytes that say that they are more."""

from __future__ import annotations

import io
import tarfile

EXABYTE = 1 << 60


def of_unknown_kind(name: str = "a") -> bytes:
    """An entry to be skipped."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.size = b"Z", EXABYTE
    return entry.tobuf(tarfile.GNU_FORMAT) + bytes(tarfile.RECORDSIZE)


def sparse(name: str = "a", size_bytes: int = EXABYTE) -> bytes:
    """A file that is a hole, but for its first byte."""
    entry = tarfile.TarInfo(name)
    entry.pax_headers = {"GNU.sparse.size": str(size_bytes), "GNU.sparse.map": "0,1"}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(entry)
    return made.getvalue()
