"""A record in memory and its row in the state file: read as ``value``, changed in one way only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

R = TypeVar("R", bound=msgspec.Struct)


class Kept(Generic[R]):
    """``write`` puts it into the state file: the record first, and effects after it.  What could not be written is
    not so."""

    def __init__(self, value: R, write: Callable[[R], None]) -> None:
        self.value = value
        self._write = write

    def change(self, **changes: Any) -> None:
        changed = msgspec.structs.replace(self.value, **changes)
        self._write(changed)
        self.value = changed
