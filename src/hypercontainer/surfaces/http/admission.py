"""Who may hold how much of a server: connections, and bytes of bodies that are not whole yet.

Counted by user, as the kernel names them (SO_PEERCRED): who holds all that is theirs (`shares`) takes nothing from
others.
Where there is one connection too many, one that waits for its next request makes room, or the new one is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypercontainer.engine.turns import shares
from hypercontainer.errors import Unavailable
from hypercontainer.surfaces.http.connection import Connection

BODIES_BYTES = 128 << 20

_Task = asyncio.Task[None]
_Group = dict[_Task, Connection]  # in the order of their arrival


class Crowded(Unavailable):
    def __init__(self) -> None:
        super().__init__("hyperd has too many clients", hint="close some of them")


class Admission:
    """``connections``: how many there may be."""

    def __init__(self, connections: int) -> None:
        self._all = connections
        self._users: dict[_Task, int | None] = {}
        self._groups: dict[int | None, _Group] = {}
        self._bodies: dict[int | None, int] = {}

    def enter(self, task: _Task, connection: Connection) -> None:
        """``connection.crowded`` is set where it is one too many."""
        user = self._users[task] = connection.peer_uid()
        group = self._groups.setdefault(user, {})
        group[task] = connection
        limit, together = shares(user, self._all)
        if len(group) > limit:
            connection.crowded = not self._make_room(group, but=task)
        elif sum(map(len, self._groups.values())) > together:
            largest = max(self._groups.values(), key=len)
            connection.crowded = not self._make_room(largest, but=task)
        if connection.crowded and len(group) > 2 * limit:
            connection.abort()

    def leave(self, task: _Task) -> None:
        user = self._users.pop(task)
        group = self._groups.get(user, {})
        group.pop(task, None)  # gone already, where it has made room
        if not group:
            self._groups.pop(user, None)

    def _make_room(self, group: _Group, *, but: _Task) -> bool:
        for task, connection in group.items():
            if connection.idle and task is not but:
                del group[task]
                task.cancel()
                return True
        return False

    @contextmanager
    def body(self, user: int | None) -> Iterator[Callable[[int], None]]:
        """While one is read; what it gives is told of each piece, and raises Unavailable where there is no room."""
        held = 0

        def grow(count: int) -> None:
            nonlocal held
            limit, together = shares(user, BODIES_BYTES)
            own, everybody = self._bodies.get(user, 0) + count, sum(self._bodies.values()) + count
            if own > limit or everybody > together:
                raise Unavailable("hyperd has too many requests that are not whole", hint="try again")
            held += count
            self._bodies[user] = own

        try:
            yield grow
        finally:
            self._bodies[user] = self._bodies.get(user, 0) - held
            if not self._bodies[user]:
                del self._bodies[user]
