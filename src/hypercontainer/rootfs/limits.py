"""Bounds on what a layer may hold, and the refusal of what exceeds them or breaks the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass

from hypercontainer.errors import LayerError

GIB = 1 << 30
MIB = 1 << 20
LOOK_EVERY = 4096  # entries, which take some 30 ms
MAX_SHOWN = 200  # characters of a name in a message


@dataclass(frozen=True)
class LayerLimits:
    """``max_bytes``: the uncompressed tar.  ``max_entries``: files with the directories they imply.
    ``max_path_bytes``: a name from the root, Linux's PATH_MAX.  ``max_image_bytes``: the disk image's apparent
    size, which sparse files can make larger than the tar.  ``max_metadata_bytes``: names, link targets, xattrs
    and sparse maps, which are held in memory.  ``max_header_bytes``: one extended header of an entry.
    ``max_steps``: directories and links gone through to where entries are, over the layer.  An image's layers have
    ``max_image_entries`` together, each counted as often as it is named, and are ``max_image_bytes`` at most."""

    max_bytes: int = 64 * GIB
    max_entries: int = 1_000_000
    max_path_bytes: int = 4096
    max_image_bytes: int = 1024 * GIB
    max_metadata_bytes: int = 256 * MIB
    max_header_bytes: int = MIB
    max_steps: int = 1 << 25
    max_image_entries: int = 2_000_000


class Refusal(Exception):
    """Why an entry is refused.  Internal: whoever knows the layer makes it a LayerError, and names the entry where
    ``entry`` does not."""

    def __init__(self, reason: str, *, entry: bytes = b"") -> None:
        super().__init__(reason)
        self.entry = entry


class Tally:
    """Counts what long work does: the one place where it is bounded, and where it ends once ``cancelled`` is true."""

    def __init__(self, what: str, limit: int, cancelled: Callable[[], bool] | None = None) -> None:
        self._what, self._limit, self._cancelled = what, limit, cancelled
        self._count = 0
        self._looked = 0

    def add(self, count: int = 1) -> None:
        """Raises Refusal beyond the limit, CancelledError once it is over."""
        self._count += count
        if self._count > self._limit:
            raise Refusal(f"{self._what} {self._limit}")
        if self._count - self._looked >= LOOK_EVERY:
            self._looked = self._count
            self.look()

    def look(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise CancelledError


@contextmanager
def refusal_named(layer: str, entry: Callable[[], bytes] = bytes) -> Iterator[None]:
    """Make a Refusal in the block a LayerError of ``layer`` and of the entry that is then being read."""
    try:
        yield
    except Refusal as refusal:
        raise LayerError(str(refusal), layer=layer, entry=_display(refusal.entry or entry())) from refusal


def _display(name: bytes) -> str:
    shown = name.decode("utf-8", "backslashreplace")
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN // 2]}...{shown[-MAX_SHOWN // 2 :]}"
