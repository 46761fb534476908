"""Room set aside on a disk, which is given when something has to be written."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from hypercontainer.linux.reserve import STEP_BYTES, Reserve


def used_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_room_is_given_in_steps_and_taken_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 3 * STEP_BYTES)
    assert not reserve.give()
    reserve.keep()
    for steps in (2, 1, 0):
        assert reserve.give()
        assert used_bytes(tmp_path / "reserve") == steps * STEP_BYTES
    assert not reserve.give()
    reserve.keep()
    reserve.keep()
    assert used_bytes(tmp_path / "reserve") == 3 * STEP_BYTES


def test_a_full_disk_costs_room_until_it_works(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 3 * STEP_BYTES)
    reserve.keep()
    failures: list[Exception] = [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "full")]

    def operation() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert reserve.spend(operation) == "done"
    assert used_bytes(tmp_path / "reserve") == STEP_BYTES


def test_it_ends_with_the_room(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", 2 * STEP_BYTES)
    reserve.keep()

    def full() -> None:
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        reserve.spend(full)
    assert used_bytes(tmp_path / "reserve") == 0


def test_other_failures_cost_nothing(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", STEP_BYTES)
    reserve.keep()

    def broken() -> None:
        sqlite3.connect(":memory:").execute("no statement")

    with pytest.raises(sqlite3.OperationalError):
        reserve.spend(broken)
    assert used_bytes(tmp_path / "reserve") == STEP_BYTES


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "missing" / "reserve")
    reserve.keep()
    assert not reserve.give()
