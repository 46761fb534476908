"""What all commands of one invocation share: where hyperd is, the client, and where words to the user go."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from hypercontainer.client.api import Client
    from hypercontainer.config import Locations


class Session:
    """``host`` and ``config`` are the global flags, "" where they were not given."""

    __slots__ = ("_client", "config", "debug", "host", "log_level")

    def __init__(self, *, host: str = "", config: str = "", debug: bool = False, log_level: str = "") -> None:
        self.host = host
        self.config = config
        self.debug = debug
        self.log_level = log_level
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Starts hyperd at the first call if nobody serves, but not where the user has named the address."""
        if self._client is None:
            self._client = self.connect(start=True)
        return self._client

    def connect(self, *, start: bool, anywhere: bool = False) -> Client:
        """``start``: hyperd, if nobody serves; ``anywhere``: at an address that the user has named, too."""
        from hypercontainer.client.api import Client

        start = start and (anywhere or not self.places.named)
        return Client(self.places.address, start=self.start_hyperd if start else None)

    @property
    def places(self) -> Locations:
        from hypercontainer.config import locations

        return locations(host=self.host or None, file=self.config or None)

    def start_hyperd(self) -> None:
        from hypercontainer.client.spawn import start_hyperd

        start_hyperd(self.places.address, config=self.config, log_level=self.log_level)


def visible(text: str, *, keep: str = "") -> str:
    """``text`` with control characters as escapes (but those in ``keep``): what a guest, an image or a registry
    says must not command the user's terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
        for letter in text
    )


class ForTerminal:
    """Standard output where it is a terminal: what comes from images, guests and registries is shown, not obeyed.

    Where it is none scripts get every byte as it is, as Docker's do.  What this program itself wants of the terminal
    goes by ``order``.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.order = stream.write

    def write(self, text: str) -> int:
        return self._stream.write(visible(text, keep="\n\t"))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def order(text: str) -> None:
    """To the terminal that is standard output, with sequences that it is to obey."""
    write = sys.stdout.order if isinstance(sys.stdout, ForTerminal) else sys.stdout.write
    write(text)


def tell(text: str) -> None:
    """Lines to the person at the terminal; data go to standard output and never through here."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(visible(text, keep="\n\t") + "\n")
            sys.stderr.flush()
        except OSError:  # standard error is closed: nobody to tell
            pass
