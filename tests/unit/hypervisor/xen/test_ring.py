"""The two rings of a console of Xen's, as host and as guest, who may be hostile."""

from __future__ import annotations

import random

import pytest

from hypercontainer.hypervisor.xen.ring import IN_BYTES, OUT_BYTES, PAGE, Rings
from xen_guest import Guest


@pytest.fixture
def page() -> bytearray:
    return bytearray(PAGE)


@pytest.mark.parametrize("start", [0, 1000, 0xFFFFFF00])
def test_what_goes_in_comes_out(page: bytearray, start: int) -> None:
    guest, rings, chance = Guest(page), Rings(memoryview(page)), random.Random(start)
    for which in range(4):
        guest.set_index(which, start)
    sent, there = chance.randbytes(20_000), b""
    back, here = chance.randbytes(20_000), b""
    while len(there) < len(sent) or len(here) < len(back):
        at = len(there)
        rings.put(sent[at : at + chance.randrange(1, 1500)])
        there += guest.read()
        guest.write(back[len(here) : len(here) + chance.randrange(1, 3000)])
        here += rings.take()
    assert (there, here) == (sent, back)
    rings.release()


def test_a_full_ring_takes_no_more(page: bytearray) -> None:
    rings = Rings(memoryview(page))
    assert rings.put(b"x" * 5000) == IN_BYTES
    assert rings.put(b"x") == 0
    rings.release()


@pytest.mark.parametrize(("index", "value"), [(3, OUT_BYTES + 1), (2, 1), (3, 0xFFFFFFFF)])
def test_a_guest_that_claims_more_than_there_is(page: bytearray, index: int, value: int) -> None:
    rings = Rings(memoryview(page))
    Guest(page).set_index(index, value)
    with pytest.raises(ValueError, match="more than the ring has"):
        rings.take()
    rings.release()


def test_a_guest_that_takes_what_was_not_written(page: bytearray) -> None:
    rings = Rings(memoryview(page))
    Guest(page).set_index(0, 7)
    with pytest.raises(ValueError, match="more than the ring has"):
        rings.put(b"x")
    rings.release()
