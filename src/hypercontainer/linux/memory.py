"""The host's memory, and this process's."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
_libc = ctypes.CDLL(None)
# What other C libraries have not.
_trim = getattr(_libc, "malloc_trim", None)
_option = getattr(_libc, "mallopt", None)
_ARENA_MAX = -8  # malloc.h


def available_bytes(meminfo: Path = MEMINFO) -> int:
    """What programs can have without swapping; 0 where the kernel does not tell."""
    return _read(meminfo).get("MemAvailable", 0)


def total_bytes(meminfo: Path = MEMINFO) -> int:
    """All that the machine has, with what it can swap out."""
    found = _read(meminfo)
    return found.get("MemTotal", 0) + found.get("SwapTotal", 0)


def one_heap() -> None:
    """For all threads of this process, which has only one so far.  Each would have one of its own, that keeps what the
    thread has freed when it is gone."""
    if _option is not None:
        _option(_ARENA_MAX, 1)


def give_back() -> None:
    """What nothing in this process uses, to the system; some ten milliseconds for tens of megabytes.

    Of itself Python keeps cycles until many more have come, and the C library what was freed below anything that is
    still in use (malloc_trim(3)).
    """
    gc.collect()
    if _trim is not None:
        _trim(0)


def _read(meminfo: Path) -> dict[str, int]:
    """By proc(5)'s names."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return {words[0].removesuffix(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
