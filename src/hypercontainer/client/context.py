"""The context of a build on this machine: which Dockerfile, which ignore file, which files are sent."""

from __future__ import annotations

import os

from hypercontainer.client.ignoring import Rules, Sieve, lines
from hypercontainer.client.packing import packed
from hypercontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILE, IGNORE = "Dockerfile", ".dockerignore"
TEXT_MAX_BYTES = 1 << 20
KEPT = [f"!{IGNORE}"]  # the builder reads it, too
URLS = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")


class Context:
    """``directory`` with the Dockerfile at ``file`` ("": the one in it; else relative to the working directory), or
    whose text is ``text``.  InvalidArgument."""

    def __init__(self, directory: str, file: str = "", text: str | None = None) -> None:
        if not os.path.isdir(directory):  # noqa: PTH112
            raise InvalidArgument(f"{directory}: no directory", hint="a directory, a URL, or - for a tar")
        self._directory = directory
        path = file or os.path.join(directory, DOCKERFILE)  # noqa: PTH118
        self.dockerfile = text if text is not None else read_text(path)
        self.dockerfile_name = DOCKERFILE if text is not None else os.path.basename(path)  # noqa: PTH119
        own = f"{path}{IGNORE}"
        self.ignore = read_text(own) if text is None and os.path.exists(own) else None  # noqa: PTH110

    def asked(self) -> dict[str, str]:
        """Fields of a BuildSpec."""
        said = {"dockerfile": self.dockerfile, "dockerfile_name": self.dockerfile_name}
        return said | ({"ignore": self.ignore} if self.ignore is not None else {})

    def pieces(self) -> Iterator[bytes]:
        """An archive of what is sent.  OSError."""
        rules = self.ignore
        shared = os.path.join(self._directory, IGNORE)  # noqa: PTH118
        if rules is None and os.path.isfile(shared):  # noqa: PTH113
            rules = read_text(shared)
        sieve = Sieve(Rules([*lines(rules), *KEPT])) if rules is not None else None
        return packed(self._directory, ".", follow=True, sieve=sieve)


def read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(TEXT_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror}") from error
    if len(data) > TEXT_MAX_BYTES:
        raise InvalidArgument(f"{path}: more than {TEXT_MAX_BYTES} bytes")
    return data.decode(errors="surrogateescape")
