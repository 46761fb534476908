"""Published ports that are kept: by whoever binds them, and by the keeper of the namespace while hyperd is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network.keeping import Kept
from hypercontainer.engine.network.ports import choose
from hypercontainer.errors import Conflict
from hypercontainer.linux.netns import Namespace


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[Namespace]:
    made = Namespace.start(tmp_path / "namespace", user=False)
    try:
        yield made
    finally:
        made.end()


def ports(count: int = 3) -> tuple[PortMapping, ...]:
    """Free ones, of both protocols and both versions of IP."""
    wanted = [PortMapping(80) for _ in range(count)]
    return choose([*wanted, PortMapping(53, 0, "127.0.0.1", "udp"), PortMapping(81, 0, "::")])


def is_free(port: PortMapping) -> bool:
    try:
        Kept("somebody else").bind([port])()
    except Conflict:
        return False
    return True


def test_all_or_none_are_bound_and_given_up_again() -> None:
    mine = ports()
    undo = Kept("pod").bind(mine)
    assert not any(map(is_free, mine))
    late = [*ports(), mine[0]]
    with pytest.raises(Conflict, match="already allocated"):
        Kept("another").bind(late)
    assert all(map(is_free, late[:-1]))
    undo()
    assert all(map(is_free, mine))


def test_they_stay_kept_while_hyperd_is_away_and_the_next_one_has_them(namespace: Namespace) -> None:
    mine = ports(300)
    first = Kept("pod")
    first.bind(mine)
    first.left()(namespace)
    first.close()  # as hyperd's end does
    assert not any(map(is_free, mine))
    for _ in range(2):  # what has been taken is left again
        second = Kept("pod")
        second.take_back(mine, namespace)
        second.close()
        assert not any(map(is_free, mine))
    third = Kept("pod")
    third.take_back(mine, namespace)
    third.none()(namespace)
    assert all(map(is_free, mine))


def test_some_are_given_up_and_the_others_stay(namespace: Namespace) -> None:
    mine = ports()
    kept = Kept("pod")
    kept.bind(mine)
    kept.left()(namespace)
    kept.without(mine[:1])(namespace)
    assert is_free(mine[0])
    kept.close()
    assert not any(map(is_free, mine[1:]))
    again = Kept("pod")
    again.take_back(mine[1:], namespace)
    again.none()(namespace)
    assert all(map(is_free, mine))


def test_what_nobody_asks_for_any_more_is_let_go(namespace: Namespace) -> None:
    mine = ports()
    first = Kept("pod")
    first.bind(mine)
    first.left()(namespace)
    first.close()
    second = Kept("pod")
    second.take_back(mine[:2], namespace)
    assert not any(map(is_free, mine[:2])) and all(map(is_free, mine[2:]))
    second.none()(namespace)


def test_two_owners_do_not_meet(namespace: Namespace) -> None:
    mine, theirs = ports(), ports()
    for name, wanted in (("pod", mine), ("service", theirs)):
        kept = Kept(name)
        kept.bind(wanted)
        kept.left()(namespace)
        kept.close()
    again = Kept("pod")
    again.take_back(mine, namespace)
    again.none()(namespace)
    assert all(map(is_free, mine)) and not any(map(is_free, theirs))


def test_without_a_keeper_hyperd_binds_them_itself(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    mine = ports()
    namespace.end()
    kept = Kept("pod")
    kept.take_back(mine, namespace)
    assert not any(map(is_free, mine))
    assert "kept by hyperd alone" in caplog.text
    kept.close()
