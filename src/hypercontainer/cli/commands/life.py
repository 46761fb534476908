"""What containers go through after their start: stop, restart, kill, pause, unpause, wait, rm, rename."""

from __future__ import annotations

from hypercontainer.cli.options import Call, Command, UsageError, flag, refused, text
from hypercontainer.cli.session import complain
from hypercontainer.client.http import quote
from hypercontainer.errors import HyperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def path(container: str, verb: str = "") -> str:
    return f"/v1/containers/{quote(container)}" + (f"/{verb}" if verb else "")


def each(names: Iterable[str], act: Callable[[str], object], *, missing_ok: bool = False) -> int:
    """Acts on every name and prints it (or the answer); one that fails does not keep the others from it.

    ``missing_ok``: what does not exist is told, and no failure.
    """
    status = 0
    for name in names:
        try:
            answer = act(name)
        except HyperError as error:
            complain(error)
            if not (missing_ok and error.code == "not_found"):
                status = 1
        else:
            print(name if answer is None else answer, flush=True)
    return status


def _timeout(call: Call) -> dict[str, int]:
    seconds = call.options.number("timeout")
    if seconds is None and call.options.given("time"):
        seconds = call.options.number("time")
    return {} if seconds is None else {"timeout_s": seconds}


def _as_long_as_it_takes(call: Call, where: str, body: object) -> object:
    """hyperd keeps the time that the user, or the container, gives the process to end."""
    return call.session.client.call("POST", where, body=body, timeout_s=None)


def stop(call: Call) -> int:
    body: dict[str, object] = {**_timeout(call)}
    if call.options.given("signal"):
        body["signal"] = call.options.text("signal")
    return each(call.arguments, lambda name: _as_long_as_it_takes(call, path(name, "stop"), body))


def restart(call: Call) -> int:
    body = _timeout(call)
    return each(call.arguments, lambda name: _as_long_as_it_takes(call, path(name, "restart"), body))


def kill(call: Call) -> int:
    body = {"signal": call.options.text("signal")}
    return each(call.arguments, lambda name: call.session.client.act(path(name, "kill"), body))


def pause(call: Call) -> int:
    return each(call.arguments, lambda name: call.session.client.act(path(name, "pause")))


def unpause(call: Call) -> int:
    return each(call.arguments, lambda name: call.session.client.act(path(name, "unpause")))


def wait(call: Call) -> int:
    query = {"condition": call.options.text("condition")}

    def one(name: str) -> int:
        answer = call.session.client.call("GET", path(name, "wait"), query, timeout_s=None)
        return int(answer["exit_status"])

    return each(call.arguments, one)


def remove(call: Call) -> int:
    query = {"force": call.options.flag("force")}
    client = call.session.client

    def one(name: str) -> None:
        client.call("DELETE", path(name), query, timeout_s=None)

    return each(call.arguments, one, missing_ok=call.options.flag("force"))


def rename(call: Call) -> int:
    old, new = call.arguments
    if not new:
        raise UsageError("the new name is empty", exit_status=1)
    call.session.client.act(path(old, "rename"), {"name": new})
    return 0


_MANY = (1, None)
_TIME = (
    text("-t --timeout", "SECONDS", "before the container is killed; -1 waits for ever"),
    text("--time", "SECONDS", "the same as --timeout"),
)
STOP = Command(
    stop,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(text("-s --signal", "SIGNAL", "to send first, in place of the container's own"), *_TIME),
    examples=("hyper stop web", "hyper stop -t 30 web db"),
)
RESTART = Command(
    restart, "[OPTIONS] CONTAINER...", count=_MANY, options=_TIME, examples=("hyper restart web",)
)
KILL = Command(
    kill,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(text("-s --signal", "SIGNAL", "name or number", "KILL"),),
    examples=("hyper kill web", "hyper kill -s HUP web"),
)
PAUSE = Command(pause, "CONTAINER...", count=_MANY, examples=("hyper pause web",))
UNPAUSE = Command(unpause, "CONTAINER...", count=_MANY, examples=("hyper unpause web",))
WAIT = Command(
    wait,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(text("--condition", "CONDITION", "not-running, next-exit or removed", "not-running"),),
    examples=("hyper wait job",),
)
RM = Command(
    remove,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(
        flag("-f --force", "kill it first if it runs; what does not exist is no failure"),
        flag("-v --volumes", "accepted; volumes without a name always go with their container"),
        refused("-l --link", "", "links between containers are not supported"),
    ),
    examples=("hyper rm web", "hyper rm -f $(hyper ps -aq)"),
)
RENAME = Command(rename, "CONTAINER NEW-NAME", count=(2, 2), examples=("hyper rename web old-web",))
