"""Who we are to a registry: challenges, basic authentication, bearer tokens.

A registry answers 401 with challenges (RFC 9110 11.6.1).  ``Bearer`` names a token server (realm); tokens
are fetched per scope and kept until shortly before they expire.  With an identity token the OAuth2 form is
posted, otherwise the token is got with or without a password.
Source: the distribution project's token authentication specification and its OAuth2 companion.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import msgspec

from hypercontainer.errors import RegistryError, Remedy, Unauthorized
from hypercontainer.image.cancel import Guard
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import decode
from hypercontainer.image.endpoints import is_insecure
from hypercontainer.image.transport import Request, Transport, read_body, retrying

CLIENT_ID = "hypercontainer"
MAX_TOKEN_BYTES = 1 << 20
MAX_CHALLENGE_CHARS = 16_384
DEFAULT_LIFETIME_S = 60.0  # by the specification, where the server says nothing
EARLY_S = 10.0
TOKEN_DEADLINE_S = 30.0

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9._~+-]*)(?:\s+(?!=)|\s*(?=,|\Z))")
_PARAMETER = re.compile(r"""\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""")


@dataclass(frozen=True)
class Challenge:
    """``scheme`` in lower case; parameter names in lower case."""

    scheme: str
    parameters: dict[str, str]


class _TokenAnswer(msgspec.Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """All challenges of the ``WWW-Authenticate`` headers; what cannot be understood is left out."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while position < len(header) <= MAX_CHALLENGE_CHARS and (match := _SCHEME.match(header, position)):
            position = match.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                position = parameter.end()
                quoted, plain = parameter[2], parameter[3]
                value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters[parameter[1].lower()] = value
            found.append(Challenge(match[1].lower(), parameters))
    return found


def basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


class Authenticator:
    """The ``Authorization`` for one host and one user; thread safe, one token request at a time.

    ``now`` is a monotonic clock in seconds.
    """

    def __init__(
        self,
        transport: Transport,
        host: str,
        credentials: Credentials | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport, self._host, self._now = transport, host, now
        self._credentials = credentials or Credentials()
        self._lock = threading.Lock()
        self._basic: str | None = None
        self._bearer: Challenge | None = None
        self._tokens: dict[tuple[str, ...], tuple[str, float]] = {}  # scopes -> header, expiry
        self.identity_token = ""  # what the token server gave when asked for one

    def header(self, scopes: tuple[str, ...], guard: Guard) -> str | None:
        """What to send for ``scopes`` as far as the host's challenge is known; None before that."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        with self._lock:
            if self._bearer is None:
                return self._basic
            header, expires = self._tokens.get(scopes, ("", 0.0))
            if expires <= self._now():
                header, expires = self._fetch(self._bearer, scopes, guard)
                self._tokens[scopes] = (header, expires)
            return header

    def challenged(self, headers: list[str], scopes: tuple[str, ...], sent: str | None, what: str) -> None:
        """Take in a 401; Unauthorized when there is nothing (more) to try.  ``sent`` was refused."""
        with self._lock:
            for challenge in parse_challenges(headers):
                if challenge.scheme == "bearer" and "realm" in challenge.parameters:
                    if self._tokens.get(scopes, ("", 0.0))[0] == sent:
                        self._tokens.pop(scopes, None)
                    self._bearer = challenge
                    return
                if challenge.scheme == "basic" and self._credentials.username:
                    self._basic = basic(self._credentials)
                    if sent != self._basic:
                        return
        raise self.refused(what)

    def refused(self, what: str) -> Unauthorized:
        known = self._credentials != Credentials()
        why = "the registry refused the credentials" if known else "the registry wants credentials"
        return Unauthorized(f"{what}: {why}", remedies=[Remedy("images.authenticate", self._host)])

    def _fetch(self, challenge: Challenge, scopes: tuple[str, ...], guard: Guard) -> tuple[str, float]:
        realm = challenge.parameters["realm"]
        what = f"token for {self._host}"
        self._check_realm(realm)
        answer = retrying(
            lambda: self._ask(realm, challenge, scopes, what, guard), self._transport.config, guard
        )
        token = answer.token or answer.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise RegistryError(f"{what}: the token server's answer has no token", url=realm)
        if answer.refresh_token:
            self.identity_token = answer.refresh_token
        lifetime = max(answer.expires_in or DEFAULT_LIFETIME_S, DEFAULT_LIFETIME_S)
        return f"Bearer {token}", self._now() + lifetime - EARLY_S

    def _check_realm(self, realm: str) -> None:
        parts = urlsplit(realm)
        plain = parts.scheme == "http" and is_insecure(parts.netloc, self._transport.config)
        if not parts.hostname or (parts.scheme != "https" and not plain):
            raise RegistryError(
                f"registry {self._host}: its token server {realm[:200]!r} is not https", url=realm[:200]
            )

    def _ask(
        self, realm: str, challenge: Challenge, scopes: tuple[str, ...], what: str, guard: Guard
    ) -> _TokenAnswer:
        response = self._transport.send(self._token_request(realm, challenge, scopes), guard)
        body = read_body(response, MAX_TOKEN_BYTES, what, guard, TOKEN_DEADLINE_S)
        if response.status in (400, 401, 403):
            raise self.refused(what)
        if response.status != 200:
            raise RegistryError(
                f"{what}: the token server answered {response.status}", http_status=response.status, url=realm
            )
        return decode(body, _TokenAnswer, what)

    def _token_request(self, realm: str, challenge: Challenge, scopes: tuple[str, ...]) -> Request:
        user = self._credentials
        service = challenge.parameters.get("service", "")
        wanted = scopes or tuple(challenge.parameters.get("scope", "").split())
        if user.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": CLIENT_ID,
                "scope": " ".join(wanted),
                "refresh_token": user.identity_token,
            }
            body = urlencode(form).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return Request("POST", realm, kind, self._host, body=lambda: body, secret=True)
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in wanted]
        if user.username:
            query += [("account", user.username), ("client_id", CLIENT_ID)]
            if not scopes:  # a login: ask for what may be kept instead of the password
                query.append(("offline_token", "true"))
        url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}" if query else realm
        return Request("GET", url, {}, self._host, authorization=basic(user) if user.username else None)
