"""The life of a container: its states and the legal moves between them, in one place.

    created --> starting --> running <--> paused
                   |  ^         |           |
                   v  |         v           v
                  exited <------+-----------+
                   |  ^
                   v  |
                restarting          removing: from created, exited; the end

A failed start goes from starting to exited, or back to created where the container never ran.
"""

from __future__ import annotations

from enum import Enum

from hypercontainer.errors import Conflict


class State(Enum):
    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    RESTARTING = "restarting"
    REMOVING = "removing"


LEGAL: dict[State, frozenset[State]] = {
    State.CREATED: frozenset({State.STARTING, State.REMOVING}),
    State.STARTING: frozenset({State.RUNNING, State.EXITED, State.CREATED}),
    State.RUNNING: frozenset({State.PAUSED, State.EXITED, State.RESTARTING}),
    State.PAUSED: frozenset({State.RUNNING, State.EXITED, State.RESTARTING}),
    State.EXITED: frozenset({State.STARTING, State.REMOVING, State.RESTARTING}),
    State.RESTARTING: frozenset({State.STARTING, State.EXITED}),
    State.REMOVING: frozenset(),
}

ALIVE = frozenset({State.STARTING, State.RUNNING, State.PAUSED})


def moved(current: State, new: State, *, what: str) -> State:
    """``new`` if the table allows it; Conflict, which names ``what``, if not."""
    if new not in LEGAL[current]:
        raise Conflict(f"{what} is {current.value}, so it cannot become {new.value}")
    return new
