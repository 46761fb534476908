"""hyper login and logout."""

from __future__ import annotations

import os
import sys

from hypercontainer.cli.options import Call, Command, UsageError, flag, text
from hypercontainer.cli.session import tell
from hypercontainer.cli.signals import raise_interrupts

MAX_PASSWORD_BYTES = 64 * 1024


def _password_from_stdin() -> str:
    data = bytearray()
    while chunk := os.read(0, 4096):
        data += chunk
        if len(data) > MAX_PASSWORD_BYTES:
            raise UsageError(f"--password-stdin: more than {MAX_PASSWORD_BYTES} bytes", exit_status=1)
    password = data.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if not password:
        raise UsageError("--password-stdin: standard input is empty", exit_status=1)
    return password


def _ask(call: Call, registry: str) -> tuple[str, str]:
    """User and password, from the options, standard input or the terminal."""
    values = call.options
    user = values.text("username")
    if values.flag("password-stdin"):
        if values.given("password"):
            raise UsageError("--password and --password-stdin are mutually exclusive", exit_status=1)
        if not user:
            raise UsageError("--password-stdin needs --username", exit_status=1)
        return user, _password_from_stdin()
    if values.given("password"):
        tell("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
        if user:
            return user, values.text("password")
    if not os.isatty(0):
        raise UsageError(
            "cannot ask for credentials: standard input is no terminal",
            hint="--username NAME --password-stdin",
            exit_status=1,
        )
    if not user:
        sys.stderr.write(f"Username for {registry}: ")
        sys.stderr.flush()
        user = sys.stdin.readline().strip()
    if not user:
        raise UsageError("username is empty", exit_status=1)
    if values.given("password"):
        return user, values.text("password")
    import getpass

    raise_interrupts()  # the terminal shall show again what is typed
    password = getpass.getpass("Password: ")
    if not password:
        raise UsageError("password is empty", exit_status=1)
    return user, password


def login(call: Call) -> int:
    from hypercontainer.cli.pulling import as_json
    from hypercontainer.image.credentials import Credentials, store
    from hypercontainer.image.reference import normalize_registry

    registry = normalize_registry(call.arguments[0] if call.arguments else "")
    user, password = _ask(call, registry)
    credentials = Credentials(user, password)
    body = {"registry": registry, "credentials": as_json(credentials)}
    answer = call.session.client.act("images.authenticate", body=body)
    token = str(answer.get("identity_token") or "")
    place = store(registry, Credentials(user, "", token) if token else credentials)
    if place.endswith(".json"):
        tell(f"Your credentials are stored unencrypted in {place}.")
    print(answer.get("status") or "Login Succeeded")
    return 0


def logout(call: Call) -> int:
    from hypercontainer.image.credentials import erase
    from hypercontainer.image.reference import normalize_registry

    registry = normalize_registry(call.arguments[0] if call.arguments else "")
    if erase(registry):
        print(f"Removing login credentials for {registry}")
    else:
        print(f"Not logged in to {registry}")
    return 0


LOGIN = Command(
    login,
    "[OPTIONS] [REGISTRY]",
    count=(0, 1),
    options=(
        text("-p --password", "PASSWORD", "seen by everybody on this machine; prefer --password-stdin"),
        flag("--password-stdin", "read the password from standard input"),
        text("-u --username", "NAME", "asked for where it is not given"),
    ),
    text="Kept where Docker keeps them: ~/.docker/config.json or its credential helpers. Default: Docker Hub.",
    examples=("hyper login", "pass show registry | hyper login -u me --password-stdin registry.example.com"),
)
LOGOUT = Command(logout, "[REGISTRY]", count=(0, 1), examples=("hyper logout registry.example.com",))
