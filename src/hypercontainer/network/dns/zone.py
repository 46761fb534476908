"""What the server asks about the names and addresses of one network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Address = tuple[str, int]  # of a name server: a numeric address, with its scope where it has one, and a port


class Zone(Protocol):
    """Asked in the event loop, once or more a question: it answers from memory, at once.

    ``asker`` is the address a question came from, without a scope.  Names are in small letters, without the last dot,
    of letters, digits, "-", "_" and dots.
    """

    def lookup(self, asker: str, name: str) -> Sequence[str] | None:
        """Addresses of both versions, in the order they are to be tried; each asker begins at another one.  () of a
        name that is ours and has none.  None: it is not ours."""

    def reverse(self, asker: str, address: str) -> str | None:
        """The name of ``address``; "" of one that is ours and has none.  None: it is not ours."""

    def may_forward(self, asker: str, name: str) -> bool:
        """Whether others are asked about what is not ours.  ``name`` "": of one that is no host's."""

    def learns(self, asker: str, answer: bytes) -> None:
        """What others answered, before the asker hears it."""

    def servers(self, asker: str) -> Sequence[Address] | None:
        """Whom to ask for this one; None: those of the host."""
