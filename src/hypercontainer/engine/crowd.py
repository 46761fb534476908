"""When a crowd has gone, what it took of this process's memory goes back to the system."""

from __future__ import annotations

from hypercontainer.linux import memory

MANY = 64


class Crowd:
    """``left`` is told how many remain whenever one goes."""

    def __init__(self) -> None:
        self._most = 0

    def left(self, remain: int) -> None:
        self._most = max(self._most, remain + 1)
        if self._most >= MANY and remain <= self._most // 4:
            self._most = remain
            memory.give_back()
