"""The host's memory."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def available_bytes(meminfo: Path = MEMINFO) -> int:
    """What programs can have without swapping; 0 where the kernel does not tell."""
    return _read(meminfo).get("MemAvailable", 0)


def total_bytes(meminfo: Path = MEMINFO) -> int:
    """All that the machine has, with what it can swap out."""
    found = _read(meminfo)
    return found.get("MemTotal", 0) + found.get("SwapTotal", 0)


def _read(meminfo: Path) -> dict[str, int]:
    """By proc(5)'s names."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    return {words[0].removesuffix(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
