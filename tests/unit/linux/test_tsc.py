"""The time stamp counter's rate: as the kernel found it, and nothing where it cannot be read."""

from __future__ import annotations

import mmap
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from hypercontainer.linux import tsc

# Two measures of other processes, whose intervals are much longer: this one's must lie in between, or near.
LONG = "from hypercontainer.linux import tsc; tsc.INTERVAL_S = 0.3; print(tsc.rate_khz())"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another processor's counter")
def test_a_short_measure_is_as_good_as_a_long_one() -> None:
    long_khz = int(subprocess.run([sys.executable, "-c", LONG], capture_output=True, check=True).stdout)
    for _ in range(5):
        tsc.rate_khz.cache_clear()
        short_khz = tsc.rate_khz()
        assert short_khz is not None
        assert abs(short_khz - long_khz) < 0.01 * long_khz  # a kernel refines what is nearer than 1 %


def refuse(*_: Any, **__: Any) -> None:
    raise PermissionError


@pytest.mark.parametrize(
    ("module", "name", "replacement"),
    [(mmap, "mmap", refuse), (platform, "machine", lambda: "aarch64"), (tsc, "BRACKET_NS", -1)],
)
def test_where_it_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, replacement: Callable[..., object]
) -> None:
    monkeypatch.setattr(module, name, replacement)
    tsc.rate_khz.cache_clear()
    assert tsc.rate_khz() is None
    tsc.rate_khz.cache_clear()
