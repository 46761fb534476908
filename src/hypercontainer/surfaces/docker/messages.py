"""The streams of pulls, pushes, loads and their like: objects of JSON, a line each; the last may be an error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from hypercontainer.surfaces.docker.wording import told as in_words
from hypercontainer.surfaces.http.answers import JSON, Chunks
from hypercontainer.surfaces.http.board import Board, told

BAR_WIDTH = 50
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Said:
    """Where an operation says what it does.  How far something is, is replaced by newer while nobody reads it."""

    def __init__(self, board: Board[dict[str, Any]]) -> None:
        self._board = board

    async def heard(self) -> None:
        """Between things of which there may be any number: what nobody reads does not pile up."""
        await self._board.taken()

    def say(self, **message: Any) -> None:
        self._board.post(object(), message)

    def status(self, status: str, identifier: str = "", **more: Any) -> None:
        self.say(status=status, **more, **({"id": identifier} if identifier else {}))

    def progress(self, status: str, identifier: str, current: int, total: int) -> None:
        """In bytes."""
        message = {
            "status": status,
            "progressDetail": {"current": current, "total": total},
            "progress": bar(current, total),
            "id": identifier,
        }
        self._board.post((identifier, status), message)


def streamed(operation: Callable[[Said], Awaitable[object]]) -> Chunks:
    """An error before anything is said is told by its status."""

    def failed(error: Exception) -> bytes:
        _, message = in_words(error)
        return line({"errorDetail": {"message": message}, "error": message})

    def work(board: Board[dict[str, Any]]) -> Awaitable[object]:
        return operation(Said(board))

    chunks = told(work, line, ended=lambda _: b"", failed=failed)
    return Chunks(200, (("Content-Type", JSON),), chunks)


def line(message: object) -> bytes:
    return msgspec.json.encode(message) + b"\r\n"


def bar(current: int, total: int) -> str:
    """How far it is, for a terminal: `[=====>     ]   5.3MB/10MB`; the number alone where nobody knows of how many."""
    if not 0 < total >= current:
        return f"{decimal(current):>8}"
    done = current * BAR_WIDTH // total
    return f"[{'=' * done}>{' ' * (BAR_WIDTH - done)}] {decimal(current):>8}/{decimal(total)}"


def decimal(size_bytes: int) -> str:
    """With four digits, in powers of 1000."""
    value, unit = float(size_bytes), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.4g}{_UNITS[unit]}"
