from __future__ import annotations

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.capabilities import ALL, DEFAULT, NAMES, granted, mask


def test_numbers() -> None:
    assert len(NAMES) == 41
    assert NAMES.index("CAP_CHOWN") == 0
    assert NAMES.index("CAP_NET_RAW") == 13
    assert NAMES.index("CAP_SYS_ADMIN") == 21
    assert NAMES.index("CAP_SETFCAP") == 31
    assert NAMES.index("CAP_CHECKPOINT_RESTORE") == 40


def test_dockers_default_as_a_mask() -> None:
    # What `docker run debian grep CapEff /proc/self/status` shows.
    assert mask(DEFAULT) == 0x00000000A80425FB
    assert mask(ALL) == 0x000001FFFFFFFFFF
    assert mask(["CAP_KILL", "CAP_KILL"]) == 1 << 5


@pytest.mark.parametrize(
    ("add", "drop", "result"),
    [
        ([], [], DEFAULT),
        (["NET_ADMIN"], [], DEFAULT | {"CAP_NET_ADMIN"}),
        (
            ["cap_net_admin", " sys_time "],
            ["chown"],
            DEFAULT - {"CAP_CHOWN"} | {"CAP_NET_ADMIN", "CAP_SYS_TIME"},
        ),
        (["CHOWN"], ["CHOWN"], DEFAULT),
        ([], ["all"], frozenset()),
        (["KILL"], ["ALL"], frozenset({"CAP_KILL"})),
        (["ALL"], [], ALL),
        (["all"], ["SYS_ADMIN"], ALL - {"CAP_SYS_ADMIN"}),
        (["ALL"], ["ALL"], ALL),
    ],
)
def test_add_and_drop(add: list[str], drop: list[str], result: frozenset[str]) -> None:
    assert granted(add, drop) == result


def test_privileged_has_all() -> None:
    assert granted([], ["ALL"], privileged=True) == ALL


@pytest.mark.parametrize(("add", "drop", "flag"), [(["FLY"], [], "cap_add"), ([], ["CAP_"], "cap_drop")])
def test_unknown_names_the_flag(add: list[str], drop: list[str], flag: str) -> None:
    with pytest.raises(InvalidArgument, match=flag):
        granted(add, drop)
