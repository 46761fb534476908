"""What was found out once, by key, in a JSON file that may be lost, damaged or written by several at any time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")
# Older entries make room: a machine has a handful of kernels and one QEMU.
MAX_ENTRIES = 64
_MAX_BYTES = 1 << 20


class FactCache:
    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str, kind: type[T]) -> T | None:
        """None for what is not there or is not a ``kind``."""
        try:
            return msgspec.convert(self._read()[key], kind, dec_hook=_decode)
        except (KeyError, msgspec.ValidationError):
            return None

    async def learned(
        self, key: str, kind: type[T], ask: Callable[[], Awaitable[T]], *, refresh: bool = False
    ) -> T:
        """What is known; what ``ask`` answers, from now on, where nothing is or it is to be asked again."""
        known = None if refresh else self.get(key, kind)
        if known is None:
            known = await ask()
            self.put(key, known)
        return known

    def put(self, key: str, value: object) -> None:
        """A failure to write costs the next process the same question."""
        facts = self._read()
        facts.pop(key, None)
        facts[key] = msgspec.to_builtins(value, enc_hook=str)
        newest = dict(list(facts.items())[-MAX_ENTRIES:])
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(newest))
            new.replace(self._path)
            self._sweep()

    def _sweep(self) -> None:
        """What processes had begun to write that were killed meanwhile.  Raises ``OSError``."""
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            if path.suffix[1:].isdecimal():
                try:
                    os.kill(int(path.suffix[1:]), 0)
                except ProcessLookupError:
                    path.unlink(missing_ok=True)

    def _read(self) -> dict[str, object]:
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_BYTES), type=dict[str, object])
        except (OSError, msgspec.MsgspecError, RecursionError):
            return {}


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)
