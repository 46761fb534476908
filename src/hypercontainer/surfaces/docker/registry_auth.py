"""Who the user is to a registry: the header of pulls, pushes and searches, and the body of a login."""

from __future__ import annotations

import base64
from typing import TypeVar

import msgspec

from hypercontainer.contract.calls import CredentialsBody
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker.call import Call

HEADER = "X-Registry-Auth"
T = TypeVar("T")


class AuthConfig(msgspec.Struct):
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None
    serveraddress: str | None = None

    def credentials(self) -> CredentialsBody | None:
        """None where it names nobody."""
        said = CredentialsBody(
            username=self.username or "",
            password=self.password or "",
            identity_token=self.identitytoken or "",
            registry_token=self.registrytoken or "",
        )
        return None if said == CredentialsBody() else said


def credentials_of(call: Call) -> CredentialsBody | None:
    said = decoded(call.header(HEADER), HEADER, AuthConfig)
    return said.credentials() if said is not None else None


def decoded(header: str, name: str, kind: type[T]) -> T | None:
    """JSON in base64 for URLs, with padding or without; None of none."""
    text = header.strip().rstrip("=").replace("+", "-").replace("/", "_")
    if not text:
        return None
    try:
        document = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
        return msgspec.json.decode(document, type=kind)
    except (ValueError, RecursionError):  # what is no base64 is a ValueError, as what is no JSON
        raise InvalidArgument(f"invalid {name} header: it is not JSON in base64") from None
