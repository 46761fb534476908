"""Credentials for registries, from and to Docker's configuration file and its credential helpers.

``$DOCKER_CONFIG/config.json``, or ``~/.docker/config.json``:

    auths        {SERVER: {"auth": base64("user:password"), "identitytoken": "..."}}
    credHelpers  {HOST: NAME}      a helper for one registry
    credsStore   NAME              a helper for all others

A helper is the program ``docker-credential-NAME``, run with ``get``, ``store`` or ``erase``, which speaks
JSON on its standard streams.  Secrets are never in an argument vector, a log line or a ``repr``.  What else
the file contains is kept when it is written.  The command line imports this: only the standard library,
and most of that late.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypercontainer.errors import InvalidArgument, Unauthorized, Unavailable
from hypercontainer.image.docker_config import config_path, dump, read, write
from hypercontainer.image.reference import DOCKER_HUB, normalize_registry

HUB_SERVER = "https://index.docker.io/v1/"  # how Docker's configuration spells Docker Hub
HELPER_TIMEOUT_S = 30.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_NOT_FOUND = "credentials not found in native keychain"


@dataclass(frozen=True)
class Credentials:
    """Either a user with a password, or an identity token (OAuth2 refresh token), or a bearer token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


def lookup(registry: str, path: Path | None = None) -> Credentials | None:
    """What the user has for ``registry`` (a reference's ``registry``); None when there is nothing."""
    document = read(path or config_path())
    if helper := _helper_for(document, registry):
        return _helper_get(helper, _server_key(registry))
    auths = _mapping(document, "auths")
    entry = auths.get(_server_key(registry))
    if not isinstance(entry, dict):
        entry = next(
            (v for k, v in auths.items() if _same_registry(k, registry) and isinstance(v, dict)), None
        )
    return None if entry is None else _from_entry(registry, entry)


def store(registry: str, credentials: Credentials, path: Path | None = None) -> str:
    """Keep ``credentials`` for ``registry``; returns where: the helper's or the file's name."""
    import base64

    path = path or config_path()
    document = read(path)
    auths = document.setdefault("auths", {})
    key = _server_key(registry)
    helper = _helper_for(document, registry)
    if helper:
        user, secret = credentials.username, credentials.password
        if credentials.identity_token:
            user, secret = "<token>", credentials.identity_token
        _run_helper(helper, "store", dump({"ServerURL": key, "Username": user, "Secret": secret}))
        auths[key] = {}
    else:
        entry: dict[str, str] = {}
        pair = f"{credentials.username}:{'' if credentials.identity_token else credentials.password}"
        entry["auth"] = base64.b64encode(pair.encode()).decode()
        if credentials.identity_token:
            entry["identitytoken"] = credentials.identity_token
        auths[key] = entry
    write(path, document)
    return f"docker-credential-{helper}" if helper else str(path)


def erase(registry: str, path: Path | None = None) -> bool:
    """Forget what is kept for ``registry``; False when nothing was."""
    path = path or config_path()
    document = read(path)
    helper = _helper_for(document, registry)
    if helper:
        _run_helper(helper, "erase", _server_key(registry).encode())
    auths = _mapping(document, "auths")
    stale = [key for key in auths if _same_registry(key, registry)]
    for key in stale:
        del auths[key]
    if stale:
        write(path, document)
    return bool(stale or helper)


def _server_key(registry: str) -> str:
    return HUB_SERVER if registry == DOCKER_HUB else registry


def _same_registry(key: str, registry: str) -> bool:
    try:
        return normalize_registry(key) == registry
    except InvalidArgument:
        return False


def _from_entry(registry: str, entry: Mapping[str, Any]) -> Credentials | None:
    import base64
    import binascii

    token = entry.get("identitytoken") or ""
    bearer = entry.get("registrytoken") or ""
    user, password = entry.get("username") or "", entry.get("password") or ""
    if auth := entry.get("auth"):
        try:
            decoded = base64.b64decode(str(auth), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _broken(f"the entry 'auth' of {registry} is not base64 of user:password") from error
        user, colon, password = decoded.partition(":")
        password = password.rstrip("\0")
        if not colon:
            raise _broken(f"the entry 'auth' of {registry} has no colon between user and password")
    if not all(isinstance(value, str) for value in (token, bearer, user, password)):
        raise _broken(f"the entry of {registry} has a field that is not a string")
    if not (user or token or bearer):
        return None
    return Credentials(user, password, token, bearer)


def _helper_for(document: Mapping[str, Any], registry: str) -> str | None:
    helpers = _mapping(document, "credHelpers")
    name = next((v for k, v in helpers.items() if _same_registry(k, registry)), None)
    name = name or document.get("credsStore")
    if not name:
        return None
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise _broken(f"the credential helper's name {name!r} is not of A-Z a-z 0-9 _ . -")
    return name


def _helper_get(helper: str, server: str) -> Credentials | None:
    import json

    answer = _run_helper(helper, "get", server.encode())
    if answer is None:
        return None
    try:
        document = json.loads(answer)
        user, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"docker-credential-{helper} get: its answer has no Username and Secret") from error
    if not isinstance(user, str) or not isinstance(secret, str):
        raise Unavailable(f"docker-credential-{helper} get: Username and Secret must be strings")
    return Credentials(identity_token=secret) if user == "<token>" else Credentials(user, secret)


def _run_helper(helper: str, verb: str, stdin: bytes) -> bytes | None:
    """The helper's output; None when it says that it has nothing for the server."""
    import subprocess

    command = [f"docker-credential-{helper}", verb]
    what = " ".join(command)
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=HELPER_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"{command[0]} is not installed", hint="install it, or take it out of Docker's config.json"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what}: no answer within {HELPER_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"{what}: {error.strerror}") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout or done.stderr).decode(errors="replace").strip()[:500]
    if _NOT_FOUND in said:
        return None
    raise Unauthorized(f"{what}: exit status {done.returncode}: {said}")


def _mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _broken(f"{key!r} is not an object")
    return value


def _broken(why: str) -> InvalidArgument:
    return InvalidArgument(f"Docker's config.json: {why}")
