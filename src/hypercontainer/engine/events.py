"""What happened: published once, kept for a while, and followed by whoever asks.

Bounded on both sides: the last ``KEPT`` events can be asked for afterwards, and a follower that falls
``BEHIND`` events back loses the oldest and is told so by an event of type "daemon", action "events-lost".  Either is
fewer where they are large: an event has its container's labels, which are an image's or a client's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from hypercontainer.contract.answers import Event
from hypercontainer.engine import times

KEPT = 1024
BEHIND = 1024
MAX_BYTES = 16 << 20  # of the events kept, and of those that a follower has not taken
ATTRIBUTE_BYTES = 150  # what one takes besides its characters


class _Queue:
    """The latest events: at most ``limit`` of them, and `MAX_BYTES`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return (event for event, _ in list(self._events))

    def put(self, event: Event) -> int:
        """Returns how many of the oldest had to go; the latest stays, whatever it is."""
        size = sum(len(key) + len(value) + ATTRIBUTE_BYTES for key, value in event.attributes.items())
        self._events.append((event, size))
        self._bytes += size
        gone = 0
        while len(self._events) > 1 and (len(self._events) > self._limit or self._bytes > MAX_BYTES):
            self.take()
            gone += 1
        return gone

    def take(self) -> Event:
        event, size = self._events.popleft()
        self._bytes -= size
        return event


class EventBus:
    def __init__(self) -> None:
        self._kept = _Queue(KEPT)
        self._followers: set[_Follower] = set()
        self.heard: Callable[[], None] = lambda: None  # called after each

    def publish(self, kind: str, action: str, identifier: str, /, **attributes: str) -> None:
        event = Event(times.now(), kind, action, identifier, attributes)
        self._kept.put(event)
        for follower in self._followers:
            follower.put(event)
        self.heard()

    async def follow(
        self, *, since_ns: int | None, until_ns: int | None, wanted: Callable[[Event], bool]
    ) -> AsyncIterator[Event]:
        """Kept events since ``since_ns`` (without it none, or all where there is an end), then new ones until
        ``until_ns`` (without it, for ever)."""
        follower = _Follower(wanted)
        self._followers.add(follower)
        try:
            if since_ns is not None or until_ns is not None:
                for event in self._kept:
                    if _within(event, since_ns or 0, until_ns) and wanted(event):
                        yield event
            async with asyncio.timeout_at(_loop_time(until_ns)):
                while True:
                    yield await follower.get()
        except TimeoutError:
            return
        finally:
            self._followers.discard(follower)


def _within(event: Event, since_ns: int, until_ns: int | None) -> bool:
    moment = times.to_ns(event.time)
    return since_ns <= moment and (until_ns is None or moment <= until_ns)


def _loop_time(until_ns: int | None) -> float | None:
    if until_ns is None:
        return None
    remaining_s = (until_ns - times.to_ns(times.now())) / 1e9
    return asyncio.get_running_loop().time() + remaining_s


class _Follower:
    """Who wants nothing of what happens is not woken by it."""

    def __init__(self, wanted: Callable[[Event], bool]) -> None:
        self._wanted = wanted
        self._queue = _Queue(BEHIND)
        self._arrived = asyncio.Event()
        self._lost = 0

    def put(self, event: Event) -> None:
        if not self._wanted(event):
            return
        self._lost += self._queue.put(event)
        self._arrived.set()

    async def get(self) -> Event:
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return Event(times.now(), "daemon", "events-lost", "", {"count": str(lost)})
        return self._queue.take()
