"""What a VM gets of its own: user IDs."""

from __future__ import annotations

import pytest

from hypercontainer.engine.sandbox.uids import free_uid
from hypercontainer.errors import Unavailable


def test_user_ids_run_out_only_when_all_are_taken() -> None:
    taken: set[int] = set()
    for _ in range(8):
        taken.add(free_uid(1000, 8, taken))
    assert taken == set(range(1000, 1008))
    with pytest.raises(Unavailable, match="uid_count"):
        free_uid(1000, 8, taken)


def test_two_hyperds_take_user_ids_from_different_places() -> None:
    first = {free_uid(500_000, 1 << 24, ()) for _ in range(16)}
    assert len(first) > 1
