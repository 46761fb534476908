"""What is put into the requests that leave a pod: what a user asks for.

Part of what a user asks for (``spec.py``).  A value goes from the client to hyperd and no further: what is stored and
shown of a specification has none.
"""

from __future__ import annotations

from msgspec import Struct


class SecretHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """Set in requests to this very host, in place of what a guest says.  ``scheme``: "https", over TLS that is
    verified; "http", in clear."""

    host: str
    header: str
    value: str = ""
    scheme: str = "https"

    def __repr__(self) -> str:
        return f"SecretHeader({self.scheme}://{self.host}:{self.header})"
