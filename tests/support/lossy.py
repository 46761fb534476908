"""A line that loses, doubles, changes and invents bytes, by a seed."""

from __future__ import annotations

import random


class Lossy:
    """``harm``: how many bytes of a thousand are hurt, in one way or another."""

    def __init__(self, seed: int, harm: float) -> None:
        self._chosen = random.Random(seed)
        self._harm = harm / 1000

    def carry(self, data: bytes) -> bytes:
        out = bytearray()
        at = 0
        while at < len(data):
            step = min(len(data) - at, self._next_harm())
            out += data[at : at + step]
            at += step
            if at < len(data):
                at += self._hurt(out, data[at : at + 40])
        return bytes(out)

    def _next_harm(self) -> int:
        return int(self._chosen.expovariate(self._harm)) if self._harm else 1 << 30

    def _hurt(self, out: bytearray, ahead: bytes) -> int:
        """How many bytes of ``ahead`` are done with."""
        match self._chosen.randrange(5):
            case 0:  # lost
                return self._chosen.randint(1, len(ahead))
            case 1:  # doubled
                out += ahead + ahead
                return len(ahead)
            case 2:  # changed
                out.append(ahead[0] ^ (1 << self._chosen.randrange(8)))
                return 1
            case 3:  # invented
                out += self._chosen.randbytes(self._chosen.randint(1, 60))
                return 0
            case _:  # the beginning of a frame that never was
                out += b"\xf1\x0dHL" + self._chosen.randbytes(self._chosen.randint(0, 30))
                return 0
