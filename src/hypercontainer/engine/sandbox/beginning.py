"""What a sandbox is brought up with and for."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass


class NoCloneError(Exception):
    """A clone has come to nothing before its guest spoke.  There is one less to be found now: try again."""


@dataclass(frozen=True)
class Told:
    """What a guest was told and has not answered, by the stage of a start that its answer ends ("": none)."""

    stages: list[tuple[str, Future[None]]]
    timeout_s: float


@dataclass(frozen=True)
class Newcomer:
    """Who has need of the VM: ``what`` names it for people, ``image`` are the diff IDs of its image.  ``tell`` tells a
    guest more, behind what the sandbox has told it: given a deadline for each answer."""

    id: str
    what: str
    image: tuple[str, ...]
    tell: Callable[[float], list[tuple[str, Future[None]]]]
