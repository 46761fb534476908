"""How fast this processor's time stamp counter runs.

A software-emulated guest's counter is the host's.  Its kernel can only measure it against timers that are emulated
too, and on a busy host is off by any factor; told the rate, it has the right time.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import time
from collections.abc import Callable

INTERVAL_S = 0.002
BRACKET_NS = 10_000  # 0.5 % of the interval; guests refine what is within 1 %
TRIES = 20
RDTSC = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl $32, %rdx; or %rdx, %rax; ret

Reading = tuple[int, int]  # counter, nanoseconds


@functools.cache
def rate_khz() -> int | None:
    """None where there is no such counter, or this process may not read it; takes some milliseconds, once."""
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:  # memory that can be written is never executed here
        return None
    page.write(RDTSC)
    code = ctypes.c_char.from_buffer(page)
    counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
    first = _reading(counter)
    time.sleep(INTERVAL_S)  # what is measured over
    last = _reading(counter)
    del code
    page.close()
    if first is None or last is None:
        return None
    return round((last[0] - first[0]) * 1_000_000 / (last[1] - first[1]))


def _reading(counter: Callable[[], int]) -> Reading | None:
    """The one of several that lies closest between two looks at the clock: in the others, others ran meanwhile."""
    nearest, bracket_ns = None, BRACKET_NS + 1
    for _ in range(TRIES):
        before = time.monotonic_ns()
        value = counter()
        after = time.monotonic_ns()
        if after - before < bracket_ns:
            nearest, bracket_ns = (value, (before + after) // 2), after - before
    return nearest
