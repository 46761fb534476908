"""Basic and bearer authentication, with the dance that registries want."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hypercontainer.errors import RegistryError, Unauthorized
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.store import ImageStore

NewStore = Callable[..., ImageStore]


def test_basic(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"x")
    fake.authorize = fake.basic("me", "p:w")
    store = new_store()
    assert store.pull(f"{fake.host}/x:1", credentials=Credentials("me", "p:w")).layers
    assert store.inquiries.check_credentials(fake.host, Credentials("me", "p:w")) == ""
    with pytest.raises(Unauthorized, match="refused the credentials"):
        store.inquiries.check_credentials(fake.host, Credentials("me", "wrong"))
    with pytest.raises(Unauthorized, match="wants credentials") as caught:
        store.pull(f"{fake.host}/x:1")
    assert [remedy.call for remedy in caught.value.remedies] == ["images.authenticate"]


class TokenServer:
    """Bearer authentication on the same server: tokens are numbers, good for ``uses`` requests."""

    def __init__(self, fake: Any, uses: int = 1_000_000) -> None:
        self.fake, self.uses = fake, uses
        self.left: dict[str, int] = {}
        self.asked: list[tuple[str, dict[str, list[str]], str | None]] = []
        fake.authorize = self.authorize

    def authorize(self, handler: Any) -> bool:
        url = urlsplit(handler.path)
        if url.path == "/token":
            self.token(handler, parse_qs(url.query or handler.body.decode()))
            return False
        bearer = (handler.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.left.get(bearer, 0) > 0:
            self.left[bearer] -= 1
            return True
        challenge = f'Bearer realm="http://{self.fake.host}/token",service="reg",scope="repository:x:pull"'
        handler.answer(401, WWW_Authenticate=challenge)
        return False

    def token(self, handler: Any, query: dict[str, list[str]]) -> None:
        authorization = handler.headers.get("Authorization")
        self.asked.append((handler.command, query, authorization))
        if (
            query.get("refresh_token", ["identity"]) != ["identity"]
            or (authorization or "Basic bWU6cHc=") != "Basic bWU6cHc="
        ):
            handler.answer(401)
            return
        token = f"t{len(self.asked)}"
        self.left[token] = self.uses
        document: dict[str, Any] = {"token": token, "expires_in": 300}
        if "offline_token" in query:
            document["refresh_token"] = "identity"
        handler.answer(200, json.dumps(document).encode())


def test_one_anonymous_token_serves_a_pull(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"a", b"b", b"c")
    tokens = TokenServer(fake)
    new_store().pull(f"{fake.host}/x:1")
    assert tokens.asked == [("GET", {"service": ["reg"], "scope": ["repository:x:pull"]}, None)]


def test_a_token_that_expires_early_is_got_again(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"a", b"b", b"c")
    tokens = TokenServer(fake, uses=2)
    new_store().pull(f"{fake.host}/x:1")
    assert 2 <= len(tokens.asked) <= 4


def test_tokens_for_a_user(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"a")
    tokens = TokenServer(fake)
    store = new_store()
    store.pull(f"{fake.host}/x:1", credentials=Credentials("me", "pw"))
    ((method, query, authorization),) = tokens.asked
    assert (method, query["account"], authorization) == ("GET", ["me"], "Basic bWU6cHc=")
    with pytest.raises(Unauthorized, match="refused the credentials"):
        store.pull(f"{fake.host}/x:1", credentials=Credentials("me", "wrong"))


def test_an_identity_token_is_got_at_login_and_used(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"a")
    tokens = TokenServer(fake)
    store = new_store()
    assert store.inquiries.check_credentials(fake.host, Credentials("me", "pw")) == "identity"
    tokens.asked.clear()
    store.pull(f"{fake.host}/x:1", credentials=Credentials(identity_token="identity"))
    ((method, query, authorization),) = tokens.asked
    assert (method, query["grant_type"], authorization) == ("POST", ["refresh_token"], None)
    with pytest.raises(Unauthorized):
        store.pull(f"{fake.host}/x:1", credentials=Credentials(identity_token="stale"))


def test_credentials_are_not_sent_to_a_token_server_in_the_clear(fake: Any, new_store: NewStore) -> None:
    fake.authorize = lambda h: h.answer(401, WWW_Authenticate='Bearer realm="http://evil.example/token"')
    with pytest.raises(RegistryError, match="not https"):
        new_store().pull(f"{fake.host}/x:1", credentials=Credentials("me", "pw"))


def test_a_registry_that_never_has_enough(fake: Any, new_store: NewStore) -> None:
    TokenServer(fake, uses=0)
    with pytest.raises(Unauthorized):
        new_store().pull(f"{fake.host}/x:1")
    assert len(fake.log) < 12
