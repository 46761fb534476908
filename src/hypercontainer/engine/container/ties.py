"""What a container is tied to; made by whoever makes the container."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from hypercontainer.engine.events import EventBus
from hypercontainer.engine.places import Places
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import ContainerRecord


@dataclass(frozen=True)
class Ties:
    """``contents`` is what its sandbox is to have.  ``news``: something of it has changed.  ``reserved``: it is about
    to have that name.  ``removed``: its files are gone, and its record is to go; ``drop_volumes``: so are the volumes
    that came with it and that nobody has named."""

    sandbox: Sandbox
    places: Places
    events: EventBus
    contents: Callable[[], Contents]
    news: Callable[[], None]
    reserved: Callable[[str], AbstractContextManager[str]]
    removed: Callable[[ContainerRecord], None]
    drop_volumes: Callable[[ContainerRecord], Awaitable[None]]
