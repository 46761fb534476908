"""What a container is tied to; made by whoever makes the container."""

from __future__ import annotations

import socket
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
    that came with it and that nobody has named.  ``api``: a connection to Docker's API with this user's rights.
    ``left``: it has gone, with all that was its own."""

    sandbox: Sandbox
    places: Places
    events: EventBus
    contents: Callable[[], Contents]
    news: Callable[[], None]
    reserved: Callable[[str], AbstractContextManager[str]]
    removed: Callable[[ContainerRecord], None]
    drop_volumes: Callable[[ContainerRecord], Awaitable[None]]
    api: Callable[[int], Awaitable[socket.socket]]
    left: Callable[[], Awaitable[None]]
