"""Places that one user cannot take from all others, and on whose behalf work is done.

Who asks is told once, where a request comes in (`on_behalf`): all that is begun for it, its tasks and what they begin,
is that user's.  Nobody said so of what hyperd does by itself, which is its own user's.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hypercontainer.errors import Unavailable

PART = 4
RESERVED_PART = 16

_asking: ContextVar[int | None] = ContextVar("asking", default=None)


@contextmanager
def on_behalf(user: int | None) -> Iterator[None]:
    """What is begun inside is ``user``'s, by number; None is hyperd's own."""
    token = _asking.set(user)
    try:
        yield
    finally:
        _asking.reset(token)


def shares(user: int | None, everything: int) -> tuple[int, int]:
    """Of ``everything``, how much is this user's, and of all together where this one asks for more.  hyperd's own may
    have all there is; everybody else a quarter, at least one, and together they leave some to that user."""
    if user in (os.geteuid(), None):
        return everything, everything
    left = everything - everything // RESERVED_PART
    return max(1, left // PART), left


class Turns:
    """``limit`` places for ``what``, in words for people: "archives".  Of one event loop at a time."""

    def __init__(self, what: str, limit: int) -> None:
        self._what, self._limit = what, limit
        self._held: Counter[int | None] = Counter()
        self._queue: deque[tuple[int | None, asyncio.Future[None]]] = deque()  # nobody in it has room

    @contextmanager
    def held(self) -> Iterator[None]:
        """A place, at once; Unavailable."""
        user = self.take()
        try:
            yield
        finally:
            self.leave(user)

    def take(self) -> int | None:
        """At once, for who asks: whose the place is now, for `leave`.  Unavailable where there is none for them."""
        user = _asking.get()
        if not self._has_room(user):
            full = self._held.total() >= shares(user, self._limit)[1]
            count, whose = (self._held.total(), "") if full else (self._held[user], f" of user {user}")
            raise Unavailable(
                f"hyperd works on {count} {self._what}{whose} already", hint="wait for one of them to end"
            )
        self._held[user] += 1
        return user

    async def wait(self) -> int | None:
        """As `take`, once there is one: who came first has the first that they may have."""
        user = _asking.get()
        if self._has_room(user):
            return self.take()
        turn = user, asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn[1]
        except asyncio.CancelledError:
            if turn in self._queue:
                self._queue.remove(turn)
            else:  # it had just been given the place
                self.leave(user)
            raise
        return user

    def leave(self, user: int | None) -> None:
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        for turn in list(self._queue):
            waiting, given = turn
            if self._has_room(waiting) and not given.done():
                self._queue.remove(turn)
                self._held[waiting] += 1
                given.set_result(None)

    def _has_room(self, user: int | None) -> bool:
        own, together = shares(user, self._limit)
        return self._held[user] < own and self._held.total() < together
