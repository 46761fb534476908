"""hyper context: Docker's own clients are led here."""

from __future__ import annotations

import os

from hypercontainer.cli import contexts
from hypercontainer.cli.options import Call, Command
from hypercontainer.cli.session import tell
from hypercontainer.errors import NotSupported

_FIRST = ("DOCKER_HOST", "DOCKER_CONTEXT")  # what Docker's clients go by before a context that is in use


def _host(call: Call) -> str:
    """Where this hyperd serves Docker's API."""
    host = str(call.session.client.call("system.info").get("DockerHost", ""))
    if not host:
        raise NotSupported(
            "this hyperd does not serve Docker's API", hint="`[docker] serve` in its configuration"
        )
    return host


def _name(call: Call) -> str:
    return call.arguments[0] if call.arguments else contexts.NAME


def create(call: Call) -> int:
    name = _name(call)
    contexts.make(name, _host(call))
    print(name)
    return 0


def use(call: Call) -> int:
    name = _name(call)
    contexts.make(name, _host(call))
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
CREATE = Command(
    create,
    "[NAME]",
    count=(0, 1),
    text=f"Prints its name.\n{_WHAT}",
    examples=("hyper context create", "docker --context hyper ps"),
)
USE = Command(
    use,
    "[NAME]",
    count=(0, 1),
    text=f"""Docker's clients take this hyperd from now on; `docker context use default` leads them back. Prints the
context's name, which is made where there is none.
{_WHAT}""",
    examples=("hyper context use",),
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
