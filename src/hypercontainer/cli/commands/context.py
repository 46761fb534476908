"""hyper context: Docker's own clients are led here."""

from __future__ import annotations

import os
from pathlib import Path

from hypercontainer.cli import contexts
from hypercontainer.cli.options import Call, Command, text
from hypercontainer.cli.session import tell
from hypercontainer.errors import InvalidArgument, NotSupported

_TCP = "tcp://"
_MATERIAL = ("ca.pem", "cert.pem", "key.pem")  # as Docker calls the files
_FIRST = ("DOCKER_HOST", "DOCKER_CONTEXT")  # what Docker's clients go by before a context that is in use


def _host(call: Call) -> str:
    """Where this hyperd serves Docker's API."""
    host = str(call.session.client.call("system.info").get("DockerHost", ""))
    if not host:
        raise NotSupported(
            "this hyperd does not serve Docker's API", hint="`[docker] serve` in its configuration"
        )
    return host


def _make(call: Call) -> str:
    """Its name."""
    name, host = _name(call), call.options.text("host")
    said = {file: call.options.text(file.removesuffix(".pem")) for file in _MATERIAL}
    if not host and any(said.values()):
        raise InvalidArgument("TLS is for a hyperd that is reached over TCP", hint="--host tcp://HOST:PORT")
    if host and not (host.startswith(_TCP) and all(said.values())):
        raise InvalidArgument(
            f"--host {host}: hyperd is reached so over TLS alone",
            hint="--host tcp://HOST:PORT --ca FILE --cert FILE --key FILE",
        )
    material = {file: _read(path) for file, path in said.items()} if host else {}
    contexts.make(name, host or _host(call), material)
    return name


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"read {path}: {error.strerror}") from error


def _name(call: Call) -> str:
    return call.arguments[0] if call.arguments else contexts.NAME


def create(call: Call) -> int:
    print(_make(call))
    return 0


def use(call: Call) -> int:
    name = _make(call)
    contexts.use(name)
    print(name)
    for variable in _FIRST:
        if os.environ.get(variable):
            tell(f"{variable} is set, and counts before the context that is in use")
    return 0


def remove(call: Call) -> int:
    name = _name(call)
    contexts.remove(name)
    print(name)
    return 0


def show(call: Call) -> int:
    print(_host(call))
    return 0


_WHAT = """A context is how Docker's clients find a daemon: docker, compose, buildx, Docker's SDKs and testcontainers
go by it. NAME is 'hyper', if none is said."""
_REMOTE = (
    text("--host", "tcp://HOST:PORT", "a hyperd elsewhere, over TLS, in place of this one"),
    text("--ca", "FILE", "who has signed its certificate"),
    text("--cert", "FILE", "your own certificate"),
    text("--key", "FILE", "the key of your certificate"),
)
CREATE = Command(
    create,
    "[NAME]",
    count=(0, 1),
    text=f"Prints its name.\n{_WHAT}",
    examples=(
        "hyper context create",
        "docker --context hyper ps",
        "hyper context create far --host tcp://far.example:2376 --ca ca.pem --cert me.pem --key me.key",
    ),
    options=_REMOTE,
)
USE = Command(
    use,
    "[NAME]",
    count=(0, 1),
    text=f"""Docker's clients take this hyperd from now on; `docker context use default` leads them back. Prints the
context's name, which is made where there is none.
{_WHAT}""",
    examples=("hyper context use",),
    options=_REMOTE,
)
RM = Command(
    remove,
    "[NAME]",
    count=(0, 1),
    text="Of those that were made by Hyper; where it is in use, Docker's clients go back to their default.",
    examples=("hyper context rm",),
)
SHOW = Command(
    show,
    "",
    count=(0, 0),
    text="Prints where this hyperd serves Docker's API.",
    examples=("export DOCKER_HOST=$(hyper context show)",),
)
