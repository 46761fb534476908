"""What passes between the engine and its surfaces beside the contract's structs.

Every method of the engine raises from the tree in ``errors.py`` and nothing else; all are safe to cancel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hypercontainer.contract.answers import Exit
from hypercontainer.contract.images import LayerProgress

# Who asks and has no rights on this machine: nothing of its files is theirs.  (None is hyperd itself.)
NOBODY = -1

ProgressSink = Callable[[LayerProgress], None]  # called on the event loop's thread


class Attachment(Protocol):
    """A client's hold on a process's standard streams; leaving it leaves the process alone.

    ``read`` gives the next bytes of channel 1 or 2 in order, b"" at the end and for ever after; a channel
    that is not read stops the process's writes to that channel only.
    """

    @property
    def tty(self) -> bool: ...
    async def read(self, channel: int) -> bytes: ...
    async def write(self, data: bytes) -> None:
        """Returns when the guest has room for more; raises Conflict once the process takes no more."""

    async def end_input(self) -> None: ...
    async def resize(self, rows: int, columns: int) -> None: ...
    async def signal(self, name: str) -> None: ...
    async def exit(self) -> Exit:
        """Waits for the process's end."""

    async def close(self) -> None: ...


class Credentials(Protocol):
    """For a registry; "" where one does not apply."""

    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def identity_token(self) -> str: ...
    @property
    def registry_token(self) -> str: ...
