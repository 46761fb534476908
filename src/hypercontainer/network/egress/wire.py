"""What hyperd says to its proxy and hears of it: lines of JSON on a pair of sockets.

The proxy knows the pods that it was told of, and nobody else; what it needs to find a host it asks.  It ends when
hyperd does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from hypercontainer.network.egress.rules import HttpRule

LINE_MAX = 4 << 20  # bytes


class Secret(Struct, frozen=True):
    """A header that is put into requests to this very host, in place of what a guest says there.  ``scheme`` "https":
    over verified TLS; "http": in clear, and there alone."""

    host: str
    header: str
    value: str
    scheme: str = "https"

    def __repr__(self) -> str:
        return f"Secret({self.host}:{self.header})"


class Tell(Struct, frozen=True, tag=True):
    """A pod, and all that holds for it, in place of what held before.  ``certificate``, ``key``: of its authority, PEM;
    "" where it has none, and nothing is looked into.  ``policy``: what its user calls the rules, for who is refused.
    ``private``: addresses of private networks may be reached without a rule that names them."""

    pod: str
    addresses: tuple[str, ...]
    rules: tuple[HttpRule, ...]
    secrets: tuple[Secret, ...] = ()
    certificate: str = ""
    key: str = ""
    policy: str = ""
    private: bool = False

    def __repr__(self) -> str:
        return f"Tell({self.pod})"


class Forget(Struct, frozen=True, tag=True):
    """Its connections end."""

    pod: str


class Serve(Struct, frozen=True, tag=True):
    """It knows all pods that there are: who is another may go."""


class Resolved(Struct, frozen=True, tag=True):
    """``problem``: why there are no addresses."""

    number: int
    addresses: tuple[str, ...] = ()
    problem: str = ""


class Ready(Struct, frozen=True, tag=True):
    """It is confined, and listens; it takes nobody in before `Serve`."""


class Told(Struct, frozen=True, tag=True):
    pod: str
    problem: str = ""


class Resolve(Struct, frozen=True, tag=True):
    number: int
    pod: str
    host: str


class Denied(Struct, frozen=True, tag=True):
    """``url`` without its query; ``method`` "CONNECT" where a connection was refused that was not looked into."""

    pod: str
    method: str
    url: str
    reason: str


ToProxy = Tell | Forget | Serve | Resolved
FromProxy = Ready | Told | Resolve | Denied


def line(message: ToProxy | FromProxy) -> bytes:
    return msgspec.json.encode(message) + b"\n"


class Lines:
    """Bytes, as they come, to messages.  Raises ``ValueError`` where they are none."""

    def __init__(self, kind: Any) -> None:  # a union of types, which is no type
        self._decoder = msgspec.json.Decoder(kind)
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[object]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            raise ValueError("a line that is too long")
        for each in lines:
            yield self._decoder.decode(each)
