"""Everything at once that strangers can do to hyperd, while another user works on: it answers, and holds no more of it
afterwards.  How much slower it is meanwhile is told by `make bench`."""

from __future__ import annotations

import grp
import itertools
import time
from collections.abc import Iterator

import pytest

import attacks
import busybox_image
from attacks import Attacker, held_by
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from soak import rounds

BUSYBOX = busybox_image.REFERENCE
GROUP = "nogroup"
MANY = rounds(short=4, soak=100)
SOAK_S = rounds(short=0, soak=3600)


@pytest.fixture
def attacked() -> Iterator[Hyper]:
    with hyper_context(f'group = "{GROUP}"\n{NO_POOL}') as made:
        made.base.chmod(0o755)
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


def works(hyper: Hyper) -> None:
    assert hyper.out("run", "--rm", BUSYBOX, "echo", "works") == "works"
    assert BUSYBOX.partition(":")[0] in hyper.out("images")
    assert "labelled" in hyper.out("ps")


def test_another_user_works_on(attacked: Hyper) -> None:
    attacker = Attacker(attacked, MANY, grp.getgrnam(GROUP).gr_gid)
    attacker.prepare()
    works(attacked)
    pid = attacked.daemon_pid()
    idle = held_by(pid)
    # One of each first, for what hyperd loads when it does a thing for the first time.
    _round(attacker.of(1))
    settled(attacked, idle["descriptors"])
    before = held_by(pid)
    ends = time.monotonic() + SOAK_S
    for number in itertools.count(1):
        _round(attacker)
        settled(attacked, before["descriptors"])
        last = held_by(pid)
        print(f"hyperd idle {idle}, before {before}, after {number} rounds {last}")
        if number > 1 and time.monotonic() >= ends:
            break
    assert last["threads"] <= before["threads"] + 4, (before, last)
    assert last["memory_kib"] <= 1.5 * before["memory_kib"], (before, last)
    assert attacked.daemon_pid() == pid
    works(attacked)


def _round(attacker: Attacker) -> None:
    with attacks.all_at_once(attacker):
        works(attacker.hyper)
        attacker.hyper("exec", "labelled", "true")


def settled(hyper: Hyper, descriptors: int) -> None:
    """Of those that the attack has had hyperd hold, none is left."""
    pid = hyper.daemon_pid()
    hyper.until(
        lambda: held_by(pid)["descriptors"] <= descriptors + 8,
        f"{descriptors} descriptors of hyperd are left",
    )
