"""Events: how many are kept, and how much of them."""

from __future__ import annotations

import asyncio
import time

from hypercontainer.contract.answers import Event
from hypercontainer.engine import events
from hypercontainer.engine.events import EventBus

BIG = {"label": "x" * 250_000}


def past(bus: EventBus) -> list[Event]:
    async def take() -> list[Event]:
        return [e async for e in bus.follow(since_ns=0, until_ns=time.time_ns(), wanted=lambda _: True)]

    return asyncio.run(take())


def test_small_events_are_kept_by_number() -> None:
    bus = EventBus()
    for number in range(events.KEPT + 10):
        bus.publish("container", "start", str(number), name="n")
    assert [event.id for event in past(bus)] == [str(number) for number in range(10, events.KEPT + 10)]


def test_events_with_large_labels_are_kept_by_size() -> None:
    bus = EventBus()
    for number in range(500):
        bus.publish("container", "start", str(number), **BIG)
    kept = past(bus)
    assert kept[-1].id == "499"
    assert sum(len(event.attributes["label"]) for event in kept) <= events.MAX_BYTES
    many = {f"{number}": "" for number in range(4096)}
    for number in range(500):
        bus.publish("container", "start", str(number), **many)
    assert len(past(bus)) * len(many) * events.ATTRIBUTE_BYTES <= events.MAX_BYTES


def test_a_follower_that_is_behind_by_size_is_told() -> None:
    async def story() -> None:
        bus = EventBus()
        follower = bus.follow(since_ns=None, until_ns=None, wanted=lambda _: True)
        first = asyncio.ensure_future(anext(follower))
        await asyncio.sleep(0)
        for number in range(200):
            bus.publish("container", "start", str(number), **BIG)
        lost = await first
        assert (lost.action, lost.id) == ("events-lost", "")
        after = await anext(follower)
        assert int(after.id) == int(lost.attributes["count"])
        await follower.aclose()  # type: ignore[attr-defined]

    asyncio.run(story())
