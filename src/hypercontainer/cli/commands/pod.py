"""hyper pod: create, and what pods go through afterwards."""

from __future__ import annotations

from hypercontainer.cli.commands.life import each
from hypercontainer.cli.container_options import POD_OPTIONS
from hypercontainer.cli.options import Call, Command, UsageError, flag, text
from hypercontainer.cli.pod_spec import pod_spec
from hypercontainer.cli.pods import pod_path
from hypercontainer.cli.session import tell
from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def create(call: Call) -> int:
    values, client = call.options, call.session.client
    name = values.text("name") or (call.arguments[0] if call.arguments else "")
    if call.arguments and name != call.arguments[0]:
        raise UsageError("conflicting names: --name and NAME differ", exit_status=1)
    spec = pod_spec(values, name)
    if values.flag("replace"):
        if not name:
            raise UsageError("--replace needs the pod's name", exit_status=1)
        try:
            client.call("DELETE", pod_path(name), {"force": True}, timeout_s=None)
        except RemoteError as error:
            if error.code != "not_found":
                raise
    created = client.act("/v1/pods", spec)
    for warning in created.get("warnings", ()):
        tell(f"WARNING: {warning}")
    print(created["id"])
    return 0


def _names(call: Call, *states: str) -> list[str]:
    """Those of the command line, or with --all the names of all pods (in one of these states)."""
    if not call.options.flag("all"):
        if not call.arguments:
            raise UsageError(
                f"hyper {call.name} requires at least 1 argument",
                hint="a pod's name, or --all",
                exit_status=1,
            )
        return call.arguments
    if call.arguments:
        raise UsageError("--all takes no names", exit_status=1)
    found = call.session.client.get("/v1/pods")["pods"]
    return [pod["name"] for pod in found if not states or pod["state"] in states]


_ALIVE = ("starting", "running", "paused", "stopping")


def _each(call: Call, verb: str, body: Any = None, *, states: tuple[str, ...] = ()) -> int:
    """As long as it takes: hyperd keeps the times that init containers and stopping have."""
    client = call.session.client

    def one(name: str) -> None:
        client.call("POST", pod_path(name, verb), body=body, timeout_s=None)

    return each(_names(call, *states), one)


def start(call: Call) -> int:
    return _each(call, "start")


def _time(call: Call) -> dict[str, int]:
    seconds = call.options.number("time")
    return {} if seconds is None else {"timeout_s": seconds}


def stop(call: Call) -> int:
    return _each(call, "stop", _time(call), states=_ALIVE)


def restart(call: Call) -> int:
    return _each(call, "restart", _time(call))


def kill(call: Call) -> int:
    return _each(call, "kill", {"signal": call.options.text("signal")}, states=_ALIVE)


def pause(call: Call) -> int:
    return _each(call, "pause", states=("running",))


def unpause(call: Call) -> int:
    return _each(call, "unpause", states=("paused",))


def remove(call: Call) -> int:
    query = {"force": call.options.flag("force")}
    client = call.session.client

    def one(name: str) -> None:
        client.call("DELETE", pod_path(name), query, timeout_s=None)

    return each(_names(call), one, missing_ok=call.options.flag("force"))


def wait(call: Call) -> int:
    def one(name: str) -> int:
        answer = call.session.client.call("GET", pod_path(name, "wait"), timeout_s=None)
        return int(answer["exit_status"])

    return each(call.arguments, one)


def exists(call: Call) -> int:
    try:
        call.session.client.get(pod_path(call.arguments[0]))
    except RemoteError as error:
        if error.code != "not_found":
            raise
        return 1
    return 0


_MANY = (0, None)
_ALL = flag("-a --all", "all of them")
CREATE = Command(
    create,
    "[OPTIONS] [NAME]",
    count=(0, 1),
    options=POD_OPTIONS,
    text="""A pod is one virtual machine for several containers, which reach one another on localhost. It begins empty;
hyper create --pod and hyper run --pod put containers into it.""",
    examples=(
        "hyper pod create -p 8080:80 shop",
        "hyper run -d --pod shop --name cache redis",
        "hyper pod create --share-pid --memory 1g --label tier=back jobs",
    ),
)
START = Command(start, "[OPTIONS] POD...", count=_MANY, options=(_ALL,), examples=("hyper pod start shop",))
_TIME = text("-t --time", "SECONDS", "for its containers to end, before they are killed")
STOP = Command(
    stop,
    "[OPTIONS] POD...",
    count=_MANY,
    options=(_ALL, _TIME),
    examples=("hyper pod stop shop", "hyper pod stop -t 5 --all"),
)
RESTART = Command(
    restart, "[OPTIONS] POD...", count=_MANY, options=(_ALL, _TIME), examples=("hyper pod restart shop",)
)
KILL = Command(
    kill,
    "[OPTIONS] POD...",
    count=_MANY,
    options=(_ALL, text("-s --signal", "SIGNAL", "name or number", "KILL")),
    examples=("hyper pod kill shop", "hyper pod kill -s HUP shop"),
)
PAUSE = Command(
    pause,
    "[OPTIONS] POD...",
    count=_MANY,
    options=(_ALL,),
    text="The virtual machine stands still as a whole.",
    examples=("hyper pod pause shop",),
)
UNPAUSE = Command(
    unpause, "[OPTIONS] POD...", count=_MANY, options=(_ALL,), examples=("hyper pod unpause shop",)
)
RM = Command(
    remove,
    "[OPTIONS] POD...",
    count=_MANY,
    options=(_ALL, flag("-f --force", "kill it first if it runs; what does not exist is no failure")),
    text="Its containers go with it; named volumes stay.",
    examples=("hyper pod rm shop", "hyper pod rm -f shop"),
)
WAIT = Command(
    wait,
    "POD...",
    count=(1, None),
    text="Prints the status of the first container that failed, or 0, once all have ended for good.",
    examples=("hyper pod wait jobs",),
)
EXISTS = Command(
    exists,
    "POD",
    count=(1, 1),
    text="The exit status is 0 where it does, 1 where it does not.",
    examples=("hyper pod exists shop || hyper pod create shop",),
)
